//! Registries that are down, slow, broken or lying. Each failure is told for what it is, in bounded time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods)]

mod support;

use banger_image::cancel::Cancel;
use banger_image::progress::{NoProgress, Progress};
use banger_image::source::{PullOptions, Resolved, SourceError, SourceErrorKind, resolve};
use banger_model::{Digest, ImageRef};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::chain;
use support::server::{Request, Server, own_address, respond};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

fn sha256(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::digest(bytes).into())
}

/// An image with one plain layer, as a registry has it.
struct Image {
    manifest: Vec<u8>,
    config: Vec<u8>,
    layer: Vec<u8>,
}

impl Image {
    fn new() -> Self {
        Self::with(CONFIG, LAYER, "amd64")
    }

    fn with(config_type: &str, layer_type: &str, architecture: &str) -> Self {
        let layer: Vec<u8> = (0..3_000_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
        let diff_id = sha256(&layer);
        let config = format!(
            r#"{{"architecture":"{architecture}","os":"linux","config":{{"Env":["A=b"]}},"rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#
        );
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"{config_type}","digest":"{}","size":{}}},"layers":[{{"mediaType":"{layer_type}","digest":"{diff_id}","size":{}}}]}}"#,
            sha256(config.as_bytes()),
            config.len(),
            layer.len()
        );
        Self { manifest: manifest.into_bytes(), config: config.into_bytes(), layer }
    }

    /// What is at `path`, and its type.
    fn at(&self, path: &str) -> Option<(&[u8], &'static str)> {
        let parts: HashMap<String, (&[u8], &'static str)> = HashMap::from([
            ("/v2/a/manifests/1".into(), (self.manifest.as_slice(), MANIFEST)),
            (format!("/v2/a/manifests/{}", sha256(&self.manifest)), (self.manifest.as_slice(), MANIFEST)),
            (format!("/v2/a/blobs/{}", sha256(&self.config)), (self.config.as_slice(), "application/octet-stream")),
            (format!("/v2/a/blobs/{}", sha256(&self.layer)), (self.layer.as_slice(), "application/octet-stream")),
        ]);
        parts.get(path).copied()
    }

    fn is_layer(&self, request: &Request) -> bool {
        request.path.ends_with(&sha256(&self.layer).to_string())
    }

    fn answer(&self, request: &Request, stream: &mut TcpStream) -> std::io::Result<()> {
        match self.at(&request.path) {
            Some((bytes, content_type)) => respond(stream, "200 OK", &[("Content-Type", content_type)], bytes),
            None => respond(stream, "404 Not Found", &[], b""),
        }
    }
}

fn find_with(server: &Server, options: &PullOptions, cancel: &Cancel) -> Result<Resolved, SourceError> {
    let reference: ImageRef = format!("docker://{}/a:1", server.address).parse().unwrap();
    resolve(&reference, options, &NoProgress, cancel)
}

fn find(server: &Server) -> Result<Resolved, SourceError> {
    find_with(server, &PullOptions::default(), &Cancel::new())
}

/// Reads the only layer to its end.
fn read(image: &Resolved, progress: &dyn Progress) -> Result<Vec<u8>, SourceError> {
    let mut bytes = Vec::new();
    let mut layer = image.open(0, progress, &Cancel::new())?;
    layer.read_to_end(&mut bytes).map(|_| bytes).map_err(|error| SourceError::from_read(error).unwrap())
}

/// The error that a server leads to when its answer to the manifest is wrong.
fn refused(
    answer: impl Fn(&Request, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
) -> (String, SourceErrorKind) {
    let server = Server::start(answer);
    let error = find(&server).unwrap_err();
    let text = chain(&error);
    assert!(text.contains(&server.address), "the subject is not named: {text}");
    (text, error.kind())
}

/// Keeps lines.
#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl Progress for Lines {
    fn stage(&self, _: &str) {}
    fn bytes(&self, _: u64, _: Option<u64>) {}
    fn line(&self, line: &str) {
        self.0.lock().unwrap().push(line.to_owned());
    }
}

#[test]
fn a_good_server_is_understood() {
    let server = Server::start(|request, stream| Image::new().answer(request, stream));
    let image = find(&server).unwrap();
    assert_eq!(image.config().env, ["A=b"]);
    assert!(read(&image, &NoProgress).unwrap() == Image::new().layer);
}

#[test]
fn answers_that_are_no_manifest_are_told_apart() {
    use SourceErrorKind::{Invalid, NotFound, Unavailable};
    let html = |status: &'static str| {
        move |_: &Request, stream: &mut TcpStream| {
            respond(stream, status, &[("Content-Type", "text/html; charset=utf-8")], b"<html>welcome</html>")
        }
    };
    let (text, kind) = refused(html("200 OK"));
    assert!(text.contains("it is no registry") && kind == Unavailable, "{text}");
    let (text, kind) = refused(html("404 Not Found"));
    assert!(text.contains("it is no registry") && kind == Unavailable, "{text}");
    let (text, kind) = refused(|_, stream| {
        let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
        respond(stream, "404 Not Found", &[("Content-Type", "application/json")], body)
    });
    assert!(
        text.contains("does not have the tag \"1\" of a: MANIFEST_UNKNOWN manifest unknown") && kind == NotFound,
        "{text}"
    );
    let (text, kind) = refused(|_, stream| respond(stream, "403 Forbidden", &[], b""));
    assert!(text.contains("(403)") && text.contains("may be private") && kind == Unavailable, "{text}");
    let (text, _) = refused(|_, stream| respond(stream, "503 Busy", &[], b"not json"));
    assert!(text.contains("answered 503"), "{text}");
    let (text, kind) = refused(|_, stream| respond(stream, "200 OK", &[("Content-Type", MANIFEST)], b"{\"layers\":"));
    assert!(text.contains("its manifest is not valid: EOF") && kind == Invalid, "{text}");
    let (text, _) = refused(|_, stream| respond(stream, "200 OK", &[("Content-Type", "text/plain")], b"{}"));
    assert!(text.contains("unknown media type \"text/plain\""), "{text}");
    let (text, _) = refused(|_, stream| respond(stream, "200 OK", &[("Content-Type", MANIFEST)], &vec![b' '; 5 << 20]));
    assert!(text.contains("larger than 4194304 bytes"), "{text}");
    let (text, _) = refused(|_, stream| {
        let other = format!("sha256:{}", "0".repeat(64));
        let headers = [("Content-Type", MANIFEST), ("Docker-Content-Digest", other.as_str())];
        respond(stream, "200 OK", &headers, &Image::new().manifest)
    });
    assert!(text.contains("instead of sha256:000"), "{text}");
    let (text, kind) = refused(|_, stream| stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n"));
    assert!(text.contains("did not answer as a web server should") && kind == Unavailable, "{text}");
    let (text, _) = refused(|_, _| Ok(()));
    assert!(text.contains("no answer from") || text.contains("did not answer"), "{text}");
    let (text, _) = refused(|_, stream| stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"sch"));
    assert!(text.contains("no answer from") || text.contains("did not answer"), "{text}");
}

#[test]
fn manifests_of_other_things_are_refused() {
    let (text, _) = refused(|request, stream| {
        Image::with("application/vnd.cncf.helm.config.v1+json", LAYER, "amd64").answer(request, stream)
    });
    assert!(text.contains("its configuration has the unknown media type \"application/vnd.cncf.helm"), "{text}");
    let (text, _) = refused(|request, stream| {
        Image::with(CONFIG, "application/vnd.oci.image.layer.v1.tar+br", "amd64").answer(request, stream)
    });
    assert!(text.contains("its layer has the unknown media type"), "{text}");
    let (text, _) = refused(|request, stream| Image::with(CONFIG, LAYER, "arm64").answer(request, stream));
    assert!(text.contains("not for linux/amd64: it has linux/arm64"), "{text}");
    let (text, _) = refused(|_, stream| {
        let entry = |architecture: &str, variant: &str| {
            format!(
                r#"{{"mediaType":"{MANIFEST}","digest":"sha256:{}","size":1,"platform":{{"os":"linux","architecture":"{architecture}"{variant}}}}}"#,
                "1".repeat(64)
            )
        };
        let (arm, power, none) = (entry("arm64", r#","variant":"v8""#), entry("ppc64le", ""), entry("unknown", ""));
        let body = format!(r#"{{"schemaVersion":2,"manifests":[{arm},{power},{none}]}}"#);
        respond(stream, "200 OK", &[("Content-Type", INDEX)], body.as_bytes())
    });
    assert!(text.contains("it has linux/arm64/v8, linux/ppc64le") && !text.contains("unknown"), "{text}");
    // An index of itself, as far as a digest allows: of another index, and so on.
    let (text, _) = refused(|_, stream| {
        let body = format!(r#"{{"manifests":[{{"mediaType":"{INDEX}","digest":"{}","size":2}}]}}"#, sha256(b"{}"));
        respond(stream, "200 OK", &[("Content-Type", INDEX)], body.as_bytes())
    });
    assert!(text.contains("announced with 2 bytes"), "{text}");
}

#[test]
fn a_layer_that_breaks_off_is_continued() {
    let tries = AtomicUsize::new(0);
    let server = Server::start(move |request, stream| {
        let image = Image::new();
        if !image.is_layer(request) {
            return image.answer(request, stream);
        }
        let from: usize =
            request.header("Range").map_or(0, |text| text["bytes=".len()..].trim_end_matches('-').parse().unwrap());
        let rest = &image.layer[from..];
        let size = image.layer.len();
        match tries.fetch_add(1, Ordering::SeqCst) {
            // Cut off in the middle.
            0 => {
                stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n").as_bytes())?;
                stream.write_all(&rest[..1_000_000])
            }
            // Busy.
            1 => respond(stream, "503 Busy", &[], b""),
            // The rest, cut off as well.
            2 => {
                let range = format!("bytes {from}-{}/{size}", size - 1);
                let head =
                    format!("HTTP/1.1 206 Partial\r\nContent-Range: {range}\r\nContent-Length: {}\r\n\r\n", rest.len());
                stream.write_all(head.as_bytes())?;
                stream.write_all(&rest[..1_000_000])
            }
            // It begins anew, whatever part is asked for.
            _ => respond(stream, "200 OK", &[], &image.layer),
        }
    });
    let lines = Lines::default();
    let layer = read(&find(&server).unwrap(), &lines).unwrap();
    assert!(layer == Image::new().layer);
    let lines = lines.0.into_inner().unwrap();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].contains("at 1000000 of 3000000 bytes"), "{lines:?}");
    assert!(server.requests.lock().unwrap().iter().any(|head| head.contains("bytes=2000000-")));
}

#[test]
fn a_layer_that_always_breaks_off_is_given_up() {
    let server = Server::start(|request, stream| {
        let image = Image::new();
        if !image.is_layer(request) {
            return image.answer(request, stream);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n")?;
        stream.write_all(&image.layer[..1000])
    });
    let error = read(&find(&server).unwrap(), &NoProgress).unwrap_err();
    assert!(chain(&error).contains("at 1000 of 3000000 bytes, 5 times"), "{}", chain(&error));
    assert_eq!(error.kind(), SourceErrorKind::Unavailable);
}

#[test]
fn layers_of_another_length_or_content_are_refused() {
    let change = |change: fn(&mut Vec<u8>), headers: &'static [(&str, &str)]| {
        let server = Server::start(move |request, stream| {
            let image = Image::new();
            if !image.is_layer(request) {
                return image.answer(request, stream);
            }
            let mut layer = image.layer;
            change(&mut layer);
            respond(stream, "200 OK", headers, &layer)
        });
        chain(&read(&find(&server).unwrap(), &NoProgress).unwrap_err())
    };
    let text = change(|layer| layer[1_500_000] ^= 1, &[]);
    assert!(text.contains("hash to"), "{text}");
    let text = change(|layer| layer.truncate(2_999_999), &[]);
    assert!(text.contains("announces 2999999 bytes") && text.contains("says 3000000"), "{text}");
    let text = change(|layer| layer.push(0), &[]);
    assert!(text.contains("announces 3000001 bytes"), "{text}");
    let text = change(|_| (), &[("Content-Type", "text/html")]);
    assert!(text.contains("it is no registry"), "{text}");
    // Without a length, and longer than announced: it could go on for ever.
    let server = Server::start(|request, stream| {
        let image = Image::new();
        if !image.is_layer(request) {
            return image.answer(request, stream);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
        loop {
            stream.write_all(&image.layer)?;
        }
    });
    let text = chain(&read(&find(&server).unwrap(), &NoProgress).unwrap_err());
    assert!(text.contains("but has at least"), "{text}");
}

#[test]
fn waiting_ends_soon_when_nobody_waits() {
    let silent = |when: fn(&Request) -> bool| {
        Server::start(move |request, stream| {
            if when(request) {
                // Until the other side goes away.
                let _ = stream.read(&mut [0]);
                return Ok(());
            }
            Image::new().answer(request, stream)
        })
    };
    let server = silent(|request| request.path.contains("manifests"));
    let cancel = Cancel::new();
    let canceller = cancel.clone();
    let begun = Instant::now();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        canceller.cancel();
    });
    let error = find_with(&server, &PullOptions::default(), &cancel).unwrap_err();
    assert!(matches!(error, SourceError::Cancelled), "{}", chain(&error));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    thread.join().unwrap();

    // A layer that stops in the middle without an end.
    let server = Server::start(|request, stream| {
        let image = Image::new();
        if !image.is_layer(request) {
            return image.answer(request, stream);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\nsome")?;
        let _ = stream.read(&mut [0]);
        Ok(())
    });
    let image = find(&server).unwrap();
    let cancel = Cancel::new();
    let mut layer = image.open(0, &NoProgress, &cancel.child()).unwrap();
    layer.read_exact(&mut [0; 4]).unwrap();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(200));
            cancel.cancel();
        });
        let error = SourceError::from_read(layer.read(&mut [0; 4]).unwrap_err()).unwrap();
        assert!(matches!(error, SourceError::Cancelled), "{}", chain(&error));
    });
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn redirects_are_followed_to_sane_targets_and_without_the_token() {
    let store = Server::start(|request, stream| {
        assert!(request.header("Authorization").is_none(), "the token went elsewhere");
        respond(stream, "200 OK", &[], &Image::new().layer)
    });
    let target = format!("http://{}/layer", store.address);
    let server = Server::start(move |request, stream| {
        let image = Image::new();
        if request.path.starts_with("/token") {
            assert!(request.path.contains("scope=repository%3Aa%3Apull") && request.path.contains("service=here"));
            return respond(stream, "200 OK", &[], br#"{"token":"secret"}"#);
        }
        if request.header("Authorization") != Some("Bearer secret") {
            let host = request.header("Host").unwrap();
            let wanted = format!(r#"Bearer realm="http://{host}/token",service="here",scope="repository:a:pull""#);
            return respond(stream, "401 Unauthorized", &[("WWW-Authenticate", &wanted)], b"");
        }
        if image.is_layer(request) {
            return respond(stream, "307 Elsewhere", &[("Location", &target)], b"");
        }
        image.answer(request, stream)
    });
    let image = find(&server).unwrap();
    assert!(read(&image, &NoProgress).unwrap() == Image::new().layer);
    assert_eq!(store.asked().len(), 1);
    let tokens = server.asked().iter().filter(|line| line.contains("/token")).count();
    assert_eq!(tokens, 1, "{:?}", server.asked());

    let (text, _) = refused(|_, stream| respond(stream, "302 Found", &[("Location", "/v2/again")], b""));
    assert!(text.contains("too many redirects"), "{text}");
    let (text, _) = refused(|_, stream| respond(stream, "302 Found", &[("Location", "http://r.example/")], b""));
    assert!(text.contains("without https"), "{text}");
    let (text, _) = refused(|_, stream| respond(stream, "302 Found", &[("Location", "file:///etc/passwd")], b""));
    assert!(text.contains("is not followed"), "{text}");
    let (text, _) = refused(|_, stream| respond(stream, "302 Found", &[], b""));
    assert!(text.contains("is not followed"), "{text}");
}

#[test]
fn private_repositories_are_told_as_such() {
    let denied = |header: &'static str| {
        refused(move |_, stream| respond(stream, "401 Unauthorized", &[("WWW-Authenticate", header)], b""))
    };
    let (text, _) = denied("Basic realm=\"here\"");
    assert!(text.contains("a user name and a password are wanted"), "{text}");
    let (text, _) = denied("Negotiate");
    assert!(text.contains("\"Negotiate\""), "{text}");
    let (text, _) = denied("Bearer realm=\"http://token.example/\"");
    assert!(text.contains("without https"), "{text}");
    // A token that does not help is not asked for again and again.
    let server = Server::start(|request, stream| {
        if request.path.starts_with("/token") {
            return respond(stream, "200 OK", &[], br#"{"access_token":"useless"}"#);
        }
        let wanted = format!(r#"Bearer realm="http://{}/token""#, request.header("Host").unwrap());
        respond(stream, "401 Unauthorized", &[("WWW-Authenticate", &wanted)], b"")
    });
    let text = chain(&find(&server).unwrap_err());
    assert!(text.contains("refuses the tag \"1\" of a (401)"), "{text}");
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn names_that_cannot_be_looked_up_are_named() {
    let reference: ImageRef = "docker://no-such-host.invalid/a:1".parse().unwrap();
    let options = PullOptions { insecure: vec!["no-such-host.invalid".into()] };
    let error = resolve(&reference, &options, &NoProgress, &Cancel::new()).unwrap_err();
    assert!(chain(&error).contains("the name no-such-host.invalid cannot be looked up"), "{}", chain(&error));
    assert_eq!(error.kind(), SourceErrorKind::Unavailable);
}

#[test]
fn a_server_without_tls_is_not_spoken_to_by_name() {
    // Only the loopback may be spoken to in plain text: this server is asked for TLS, and no request reaches it.
    let Some(address) = own_address() else {
        eprintln!("SKIPPED: a_server_without_tls: this host has no address but the loopback's");
        return;
    };
    let server = Server::on(&address.to_string(), |request, stream| Image::new().answer(request, stream));
    let error = find(&server).unwrap_err();
    assert!(chain(&error).contains("list it under `insecure`"), "{}", chain(&error));
    assert!(server.asked().is_empty());
    let options = PullOptions { insecure: vec![server.address.clone()] };
    assert!(read(&find_with(&server, &options, &Cancel::new()).unwrap(), &NoProgress).is_ok());
}
