//! How a registry says what it wants before it answers (`WWW-Authenticate`, RFC 9110; tokens as the distribution
//! specification describes them).

/// What a registry wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A token from another place.
    Bearer {
        /// Where, as a URL.
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
    /// A user and a password.
    Basic,
}

impl Challenge {
    /// The first challenge in `header` that can be met, tokens before passwords.
    pub(super) fn parse(header: &str) -> Option<Self> {
        let (mut bearer, mut basic) = (None, None);
        for (scheme, parameters) in challenges(header) {
            let get = |name: &str| parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            let get = |name| get(name).map(|(_, value)| value.clone()).filter(|value| !value.is_empty());
            if scheme.eq_ignore_ascii_case("bearer") && bearer.is_none() {
                bearer = get("realm").map(|realm| Self::Bearer { realm, service: get("service"), scope: get("scope") });
            } else if scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Self::Basic);
            }
        }
        bearer.or(basic)
    }
}

type Parameters = Vec<(String, String)>;

/// Splits a header into schemes and their parameters. What does not fit the grammar ends the list.
fn challenges(header: &str) -> Vec<(String, Parameters)> {
    let mut found: Vec<(String, Parameters)> = Vec::new();
    let mut rest = header.trim_start();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c == '=' || c == ',' || c.is_ascii_whitespace()).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let after = after.trim_start();
        match (after.strip_prefix('='), found.last_mut()) {
            (Some(value), Some((_, parameters))) if !word.is_empty() => {
                let Some((value, tail)) = value_of(value.trim_start()) else { break };
                parameters.push((word.to_owned(), value));
                rest = tail;
            }
            (None, _) => {
                if !word.is_empty() {
                    found.push((word.to_owned(), Vec::new()));
                }
                rest = after;
            }
            _ => break,
        }
        rest = rest.trim_start_matches(|c: char| c == ',' || c.is_ascii_whitespace());
    }
    found
}

/// A token or a quoted text, and what follows it.
fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|c: char| c == ',' || c.is_ascii_whitespace()).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer { realm: realm.into(), service: service.map(Into::into), scope: scope.map(Into::into) })
    }

    #[test]
    fn what_registries_send() {
        let header =
            r#"Bearer realm="https://auth.example/token",service="r.example",scope="repository:a/b:pull,push""#;
        let expected = bearer("https://auth.example/token", Some("r.example"), Some("repository:a/b:pull,push"));
        assert_eq!(Challenge::parse(header), expected);
        assert_eq!(Challenge::parse("Basic realm=\"x\""), Some(Challenge::Basic));
        assert_eq!(Challenge::parse("basic"), Some(Challenge::Basic));
        assert_eq!(Challenge::parse("Basic realm=x, bearer  Realm=y"), bearer("y", None, None));
        assert_eq!(Challenge::parse(r#"Bearer realm="a\"b""#), bearer("a\"b", None, None));
        for useless in ["", "Bearer", "Negotiate", "Bearer realm=\"", "=x", "Bearer realm=\"\""] {
            assert_eq!(Challenge::parse(useless), None, "{useless}");
        }
    }

    proptest! {
        #[test]
        fn anything_can_be_read(header in ".{0,80}|[Bbearsic =\",\\\\]{0,40}") {
            let _any = Challenge::parse(&header);
        }
    }
}
