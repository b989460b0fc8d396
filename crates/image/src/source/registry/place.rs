//! Where requests may go.
//!
//! Owns: the rule for plain HTTP (this host's loopback, and what the user listed) and for following redirects: never from
//! encrypted to plain, never from elsewhere to services of this host. Pure.

use std::net::IpAddr;
use ureq::http::Uri;

/// The longest address that is followed, in bytes.
const MAX_URL: usize = 8 << 10;

/// A scheme, a host and perhaps a port: what credentials belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    plain: bool,
    /// As written, in lower case: `host` or `host:port`.
    authority: String,
}

/// `authority` without its port, and without brackets.
fn host(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(v6),
        None => authority.split(':').next().unwrap_or(authority),
    }
}

fn is_loopback(authority: &str) -> bool {
    let host = host(authority);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

fn may_be_plain(authority: &str, insecure: &[String]) -> bool {
    is_loopback(authority) || insecure.iter().any(|listed| listed == authority || listed == host(authority))
}

impl Place {
    /// Where the registry called `authority` in references is.
    pub(super) fn of_registry(authority: &str, insecure: &[String]) -> Self {
        let authority = authority.to_ascii_lowercase();
        let plain = may_be_plain(&authority, insecure);
        // The name in references and the host behind it differ for this one alone.
        let authority = if authority == "docker.io" { "registry-1.docker.io".to_owned() } else { authority };
        Self { plain, authority }
    }

    /// The host and its port, for people.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// Whether it is this host.
    pub(super) fn is_loopback(&self) -> bool {
        is_loopback(&self.authority)
    }

    /// The address of `path` there.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", if self.plain { "http" } else { "https" }, self.authority)
    }

    /// Where `location`, as a server here has written it, leads: the place and the address; or why we do not go there.
    pub(super) fn follow(&self, location: &str, insecure: &[String]) -> Result<(Self, String), &'static str> {
        if location.len() > MAX_URL {
            return Err("it is too long");
        }
        let absolute = match location.strip_prefix("//") {
            Some(rest) => format!("{}://{rest}", if self.plain { "http" } else { "https" }),
            None if location.starts_with('/') => self.url(location),
            None => location.to_owned(),
        };
        let uri: Uri = absolute.parse().map_err(|_| "it is no address")?;
        let plain = match uri.scheme_str() {
            Some("https") => false,
            Some("http") => true,
            _ => return Err("it is no address of a web server"),
        };
        let authority = uri.authority().ok_or("it has no host")?.as_str().to_ascii_lowercase();
        if authority.contains('@') {
            return Err("it has a user name in it");
        }
        if plain && !self.plain {
            return Err("it leads from https to http");
        }
        if is_loopback(&authority) && !self.is_loopback() {
            return Err("it leads to this computer itself");
        }
        if plain && !may_be_plain(&authority, insecure) {
            return Err("it leads to a server without https that is not listed under `insecure`");
        }
        Ok((Self { plain, authority }, absolute))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(authority: &str) -> Place {
        Place::of_registry(authority, &["lab.example:5000".into(), "old.example".into()])
    }

    #[test]
    fn plain_http_is_for_loopback_and_what_is_listed() {
        for plain in ["localhost:5000", "127.0.0.1", "127.1.2.3:80", "[::1]:5000", "lab.example:5000", "old.example:1"]
        {
            assert!(registry(plain).url("/").starts_with("http://"), "{plain}");
        }
        for secure in
            ["localhost.example", "128.0.0.1", "lab.example", "lab.example:5001", "127.0.0.1.example", "ghcr.io"]
        {
            assert!(registry(secure).url("/").starts_with("https://"), "{secure}");
        }
        assert_eq!(registry("docker.io").url("/v2/"), "https://registry-1.docker.io/v2/");
    }

    #[test]
    fn redirects_keep_to_sane_targets() {
        let listed = ["lab.example:5000".to_owned()];
        let go = |from: &str, to: &str| registry(from).follow(to, &listed).map(|(_, url)| url);
        assert_eq!(go("r.example", "/a?b"), Ok("https://r.example/a?b".into()));
        assert_eq!(go("r.example", "https://cdn.example/x"), Ok("https://cdn.example/x".into()));
        assert_eq!(go("127.0.0.1:1", "http://127.0.0.1:2/x"), Ok("http://127.0.0.1:2/x".into()));
        assert_eq!(go("127.0.0.1:1", "//localhost/x"), Ok("http://localhost/x".into()));
        for (from, to, reason) in [
            ("r.example", "http://r.example/", "https to http"),
            ("r.example", "https://127.0.0.1/", "this computer"),
            ("r.example", "https://[::ffff:127.0.0.1]/", "this computer"),
            ("lab.example:5000", "http://localhost/", "this computer"),
            ("lab.example:5000", "http://cdn.example/", "insecure"),
            ("r.example", "https://user@r.example/", "user name"),
            ("r.example", "ftp://r.example/", "web server"),
            ("r.example", "file:///etc/passwd", ""),
            ("r.example", "x y", "no address"),
            ("r.example", "elsewhere", ""),
        ] {
            let refused = go(from, to).unwrap_err();
            assert!(refused.contains(reason), "{from} {to}: {refused}");
        }
    }

    #[test]
    fn places_differ_by_scheme_host_and_port() {
        let (same, _) = registry("r.example").follow("https://R.example/x", &[]).unwrap();
        assert_eq!(same, registry("r.example"));
        let (other, _) = registry("r.example").follow("https://r.example:444/x", &[]).unwrap();
        assert_ne!(other, registry("r.example"));
    }
}
