//! Asking one registry.
//!
//! Owns: requests, redirects, tokens, and telling answers from failures. Must not: know what manifests mean. A token goes to
//! the registry and nowhere else, whatever redirects say.

use super::challenge::Challenge;
use super::error::RegistryError;
use super::net::{Dial, Names};
use super::place::Place;
use crate::cancel::Cancel;
use crate::source::SourceError;
use serde::Deserialize;
use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use ureq::http::{HeaderMap, Response, header};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::unversioned::transport::{ConnectProxyConnector, Connector, RustlsConnector};
use ureq::{Agent, Body};

/// How many redirects one request may lead through.
const MAX_REDIRECTS: usize = 5;
/// How long a document may take from the first byte of the request to the last of the answer.
const DOCUMENT_LIMIT: Duration = Duration::from_secs(120);
/// How long a server may take to begin its answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// The longest answer that is read when it is not what was asked for, in bytes.
const MAX_REFUSAL: u64 = 64 << 10;
/// The most that an error repeats of what a server said.
const MAX_DETAIL: usize = 200;

/// Why a request brought nothing.
#[derive(Debug)]
pub(super) enum Failure {
    Cancelled,
    Registry(RegistryError),
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        Self::Registry(error)
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask<'a> {
    /// For people.
    pub(super) what: &'a str,
    /// Below the registry's root.
    pub(super) path: &'a str,
    /// The media types that will do.
    pub(super) accept: &'a str,
    /// The first byte that is wanted; 0 asks for everything.
    pub(super) from: u64,
}

/// A registry, and the right to read one repository of it.
#[derive(Debug)]
pub(super) struct Client {
    place: Place,
    insecure: Vec<String>,
    /// What tokens are asked for when the registry does not say.
    scope: String,
    authorization: Mutex<Option<String>>,
}

impl Client {
    pub(super) fn new(host: &str, repository: &str, insecure: &[String]) -> Self {
        Self {
            place: Place::of_registry(host, insecure),
            insecure: insecure.to_vec(),
            scope: format!("repository:{repository}:pull"),
            authorization: Mutex::default(),
        }
    }

    /// Connections for short documents.
    pub(super) fn documents(&self, cancel: &Cancel) -> Agent {
        self.agent(Some(DOCUMENT_LIMIT), cancel)
    }

    /// A connection for a layer, which may take as long as it takes, as long as bytes come.
    pub(super) fn layers(&self, cancel: &Cancel) -> Agent {
        self.agent(None, cancel)
    }

    fn agent(&self, limit: Option<Duration>, cancel: &Cancel) -> Agent {
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("banger/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls)
            .timeout_recv_response(Some(ANSWER_LIMIT))
            .timeout_global(limit);
        if self.place.is_loopback() {
            config = config.proxy(None);
        }
        let connector = ().chain(ConnectProxyConnector::default()).chain(Dial(cancel.clone()));
        Agent::with_parts(config.build(), connector.chain(RustlsConnector::default()), Names(cancel.clone()))
    }

    /// Sends one request, follows redirects, and gets a token if one is wanted. Returns an answer with status 200 or 206.
    pub(super) fn get(&self, agent: &Agent, ask: Ask<'_>) -> Result<Response<Body>, Failure> {
        let (mut place, mut url) = (self.place.clone(), self.place.url(ask.path));
        let mut authenticated = false;
        let mut redirects = 0;
        loop {
            let response = self.send(agent, &place, &url, ask)?;
            match response.status().as_u16() {
                401 if place == self.place && !authenticated => {
                    authenticated = true;
                    self.authenticate(agent, response.headers(), ask.what)?;
                }
                301 | 302 | 303 | 307 | 308 => {
                    let location = response.headers().get(header::LOCATION);
                    let location = location.and_then(|text| text.to_str().ok()).unwrap_or_default();
                    let refuse = |reason| {
                        let (host, to) = (place.authority().to_owned(), clean(location));
                        RegistryError::Redirect { host, to, reason }
                    };
                    redirects += 1;
                    if redirects > MAX_REDIRECTS {
                        return Err(refuse("there were too many redirects before it").into());
                    }
                    (place, url) = place.follow(location, &self.insecure).map_err(refuse)?;
                }
                _ => return Ok(judge(response, place.authority(), ask.what)?),
            }
        }
    }

    fn send(&self, agent: &Agent, place: &Place, url: &str, ask: Ask<'_>) -> Result<Response<Body>, Failure> {
        let mut request = agent.get(url).header(header::ACCEPT, ask.accept);
        if ask.from > 0 {
            request = request.header(header::RANGE, format!("bytes={}-", ask.from));
        }
        if *place == self.place {
            let authorization = self.authorization.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(authorization) = authorization.as_ref() {
                request = request.header(header::AUTHORIZATION, authorization);
            }
        }
        request.call().map_err(|error| failure(place.authority(), error))
    }

    /// Does what the registry asks for before it answers.
    fn authenticate(&self, agent: &Agent, headers: &HeaderMap, what: &str) -> Result<(), Failure> {
        let host = || self.place.authority().to_owned();
        let texts: Vec<&str> =
            headers.get_all(header::WWW_AUTHENTICATE).iter().filter_map(|text| text.to_str().ok()).collect();
        let wanted = texts.join(", ");
        let (realm, service, scope) = match Challenge::parse(&wanted) {
            Some(Challenge::Bearer { realm, service, scope }) => (realm, service, scope),
            Some(Challenge::Basic) => {
                let (detail, status) = (Some("a user name and a password are wanted".to_owned()), 401);
                return Err(RegistryError::Denied { host: host(), what: what.to_owned(), status, detail }.into());
            }
            None => return Err(RegistryError::Challenge { host: host(), wanted: clean(&wanted) }.into()),
        };
        let refuse = |reason| RegistryError::Redirect { host: host(), to: clean(&realm), reason };
        let (place, url) = self.place.follow(&realm, &self.insecure).map_err(refuse)?;
        let mut request = agent.get(url).query("scope", scope.as_deref().unwrap_or(&self.scope));
        if let Some(service) = &service {
            request = request.query("service", service);
        }
        let response = request.call().map_err(|error| failure(place.authority(), error))?;
        let response = judge(response, place.authority(), &format!("a token for {what}"))?;
        let bytes = read(response.into_body(), MAX_REFUSAL, place.authority())?;
        let no_token =
            |source| RegistryError::Token { host: place.authority().to_owned(), what: what.to_owned(), source };
        let token: Token = serde_json::from_slice(&bytes).map_err(|error| no_token(Some(error)))?;
        let token =
            token.token.or(token.access_token).filter(|token| !token.is_empty()).ok_or_else(|| no_token(None))?;
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("Bearer {token}"));
        Ok(())
    }

    /// The registry's host, for people.
    pub(super) fn host(&self) -> &str {
        self.place.authority()
    }
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

/// What registries say when they refuse.
#[derive(Deserialize)]
struct Refusal {
    errors: Vec<RefusalError>,
}

#[derive(Deserialize)]
struct RefusalError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// All of a body, at most one byte more than `limit`.
pub(super) fn read(body: Body, limit: u64, host: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    match body.into_reader().take(limit + 1).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(failure(host, ureq::Error::Io(error))),
    }
}

/// Tells a good answer from a refusal.
fn judge(response: Response<Body>, host: &str, what: &str) -> Result<Response<Body>, RegistryError> {
    let status = response.status().as_u16();
    let (host, what) = (host.to_owned(), what.to_owned());
    let content_type = content_type(response.headers());
    if matches!(status, 200 | 206) {
        return if content_type == "text/html" {
            Err(RegistryError::NotRegistry { host, what, content_type })
        } else {
            Ok(response)
        };
    }
    let detail = read(response.into_body(), MAX_REFUSAL, &host).ok().and_then(|bytes| {
        let refusal: Refusal = serde_json::from_slice(&bytes).ok()?;
        let first = refusal.errors.into_iter().next()?;
        Some(clean(&format!("{} {}", first.code, first.message)))
    });
    Err(match status {
        404 if detail.is_none() && content_type == "text/html" => {
            RegistryError::NotRegistry { host, what, content_type }
        }
        404 => RegistryError::NotFound { host, what, detail },
        401 | 403 => RegistryError::Denied { host, what, status, detail },
        _ => RegistryError::Status { host, what, status, detail },
    })
}

/// The media type of an answer, without parameters.
pub(super) fn content_type(headers: &HeaderMap) -> String {
    let text = headers.get(header::CONTENT_TYPE).and_then(|text| text.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// What a server said, fit for one line of a terminal.
fn clean(text: &str) -> String {
    let plain: String = text.trim().chars().filter(|c| !c.is_control()).take(MAX_DETAIL).collect();
    plain
}

/// Sorts the HTTP client's errors.
pub(super) fn failure(host: &str, error: ureq::Error) -> Failure {
    let host = host.to_owned();
    Failure::Registry(match error {
        ureq::Error::Io(error) => match SourceError::from_read(error) {
            Ok(_) => return Failure::Cancelled,
            // The TLS library's own errors come like this.
            Err(source) if source.kind() == io::ErrorKind::InvalidData => {
                RegistryError::Tls { host, source: Box::new(ureq::Error::Io(source)) }
            }
            Err(source) => RegistryError::Unreachable { host, source },
        },
        ureq::Error::HostNotFound => RegistryError::Unreachable { host, source: io::ErrorKind::NotFound.into() },
        ureq::Error::Timeout(_) => RegistryError::Unreachable { host, source: io::ErrorKind::TimedOut.into() },
        error @ (ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::Pem(_)) => {
            RegistryError::Tls { host, source: Box::new(error) }
        }
        error => RegistryError::Http { host, source: Box::new(error) },
    })
}
