//! Speaking to the daemon. Owns: the socket, starting a daemon when none answers, HTTP, event lines and the upgrade to an
//! exec stream. Must not: decide anything, or print, except the requests themselves when the user asked to see them and that
//! the daemon is of another version.

#[cfg(test)]
mod before;
mod connect;
mod events;
mod start;
mod upgrade;

pub(crate) use events::Events;
pub(crate) use start::StartError;

use crate::output::{Ui, clean};
use banger_model::{
    OpId,
    api::{API_PREFIX, OP_HEADER, VERSION_HEADER, error::ErrorBody},
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited, combinators::BoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Incoming},
    header::{CONTENT_TYPE, HOST},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Serialize, de::DeserializeOwned};
use std::{cell::Cell, io, path::PathBuf};

/// What stays as it is in a path segment or a query value.
const UNRESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The longest answer that is read into memory, in bytes: far above a list of ten thousand VMs.
const MAX_ANSWER: usize = 64 << 20;

/// A body of any kind on its way to the daemon.
pub(crate) type Outgoing = BoxBody<Bytes, io::Error>;

/// The daemon could not be spoken to, or refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// It said what is wrong.
    #[error("{}", .0.message)]
    Api(Box<ErrorBody>),
    /// None runs, and none was to be started.
    #[error("the daemon is not running")]
    NotRunning {
        /// Where it would listen.
        socket: PathBuf,
    },
    /// None ran, and none could be started.
    #[error("cannot start the daemon")]
    Start(#[from] StartError),
    /// The socket is there but cannot be used.
    #[error("cannot connect to the daemon at {}", socket.display())]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The environment does not say where the socket is.
    #[error("cannot tell where banger keeps its files")]
    NoHome(#[from] banger_model::paths::NoHome),
    /// HTTP broke off.
    #[error("lost the connection to the daemon")]
    Lost(#[source] hyper::Error),
    /// An answer broke off.
    #[error("the daemon's answer broke off")]
    BrokeOff(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Our side of a request was wrong.
    #[error("cannot make the request {path}")]
    Request {
        /// For what.
        path: String,
        /// Why.
        source: hyper::http::Error,
    },
    /// Something that is not JSON of ours.
    #[error("cannot make sense of the daemon's answer to {path}")]
    Strange {
        /// The request.
        path: String,
        /// Why.
        source: serde_json::Error,
    },
    /// A status that has no body of ours.
    #[error("the daemon answered {path} with {status}")]
    Status {
        /// The request.
        path: String,
        /// As it came.
        status: StatusCode,
    },
    /// A stream of events without an end.
    #[error("the daemon went away before {what} ended")]
    NoEnd {
        /// What ran.
        what: String,
    },
}

/// A path below the API's prefix, put together from parts that are escaped.
#[derive(Debug, Clone)]
pub(crate) struct Route(String);

impl Route {
    /// `/part/part/…`.
    pub(crate) fn new<const N: usize>(parts: [&str; N]) -> Self {
        let escaped = parts.map(|part| format!("/{}", utf8_percent_encode(part, &UNRESERVED)));
        Self(escaped.concat())
    }

    /// With a query parameter more.
    #[must_use]
    pub(crate) fn query(self, name: &str, value: &str) -> Self {
        let sign = if self.0.contains('?') { '&' } else { '?' };
        Self(format!("{}{sign}{name}={}", self.0, utf8_percent_encode(value, &UNRESERVED)))
    }
}

/// The daemon, as far as a client has to do with it.
#[derive(Debug)]
pub(crate) struct Client<'a> {
    ui: &'a Ui,
    /// Whether a daemon may be started when none answers.
    start: bool,
    /// Whether the user has been told of the daemon's version.
    warned: Cell<bool>,
}

impl<'a> Client<'a> {
    /// A client that starts a daemon when none answers.
    pub(crate) fn new(ui: &'a Ui) -> Self {
        Self { ui, start: true, warned: Cell::new(false) }
    }

    /// A client that never starts a daemon.
    pub(crate) fn of_running(ui: &'a Ui) -> Self {
        Self { ui, start: false, warned: Cell::new(false) }
    }

    /// Asks for an object.
    pub(crate) async fn get<T: DeserializeOwned>(&self, route: &Route) -> Result<T, ClientError> {
        self.call(Method::GET, route).await
    }

    /// Sends an empty request and reads an object.
    pub(crate) async fn call<T: DeserializeOwned>(&self, method: Method, route: &Route) -> Result<T, ClientError> {
        let answer = self.send(method, route, empty(), None).await?;
        let bytes = read_all(answer).await?;
        serde_json::from_slice(&bytes).map_err(|source| ClientError::Strange { path: route.0.clone(), source })
    }

    /// Sends an empty request whose answer does not matter once it is a success.
    pub(crate) async fn tell(&self, method: Method, route: &Route) -> Result<(), ClientError> {
        self.send(method, route, empty(), None).await.map(drop)
    }

    /// Begins an operation. `body` is what is asked for, if the route takes anything.
    pub(crate) async fn operate<T: Serialize>(
        &self,
        method: Method,
        route: &Route,
        body: Option<&T>,
    ) -> Result<Events, ClientError> {
        let answer = match body {
            Some(body) => self.send(method, route, json(route, body)?, Some("application/json")).await?,
            None => self.send(method, route, empty(), None).await?,
        };
        Ok(Events::new(route.0.clone(), answer.into_body()))
    }

    /// Asks for a stream of bytes.
    pub(crate) async fn download(&self, route: &Route) -> Result<Incoming, ClientError> {
        Ok(self.send(Method::GET, route, empty(), None).await?.into_body())
    }

    /// Sends a stream of bytes and waits until it has been taken.
    pub(crate) async fn upload(&self, route: &Route, body: Outgoing) -> Result<(), ClientError> {
        self.send(Method::PUT, route, body, Some("application/x-tar")).await.map(drop)
    }

    /// One request on a connection of its own. Anything but success is an error.
    async fn send(
        &self,
        method: Method,
        route: &Route,
        body: Outgoing,
        content_type: Option<&str>,
    ) -> Result<Response<Incoming>, ClientError> {
        let mut sender = self.connection().await?;
        let request = request(&method, route).header(CONTENT_TYPE, content_type.unwrap_or("application/octet-stream"));
        let request = request.body(body).map_err(|source| ClientError::Request { path: route.0.clone(), source })?;
        let answer = sender.send_request(request).await.map_err(ClientError::Lost)?;
        self.trace(&method, route, &answer);
        if answer.status().is_success() { Ok(answer) } else { Err(refusal(route, answer).await) }
    }

    /// Shows the request to a user who asked for it, and tells once of a daemon that is not ours.
    fn trace<B>(&self, method: &Method, route: &Route, answer: &Response<B>) {
        let theirs = answer.headers().get(VERSION_HEADER).and_then(|version| version.to_str().ok());
        if let Some(warning) = other_version(theirs, env!("CARGO_PKG_VERSION"))
            && !self.warned.replace(true)
        {
            self.ui.warn(&warning);
        }
        self.ui.trace(|| {
            let op = op_of(answer).map_or_else(|| "-".to_owned(), |op| op.to_string());
            format!("{method} {API_PREFIX}{}: {} ({op})", route.0, answer.status())
        });
    }
}

/// What the daemon calls the operation that it answers for.
fn op_of<B>(answer: &Response<B>) -> Option<OpId> {
    answer.headers().get(OP_HEADER)?.to_str().ok()?.parse().ok()
}

/// What to say about a daemon of another version than ours.
fn other_version(theirs: Option<&str>, ours: &str) -> Option<String> {
    let theirs = theirs.filter(|theirs| *theirs != ours)?;
    Some(format!(
        "the daemon is of version {}, this is {ours}; after `banger daemon stop`, the next command starts one of its own \
         version (VMs go on running)",
        clean::line(theirs)
    ))
}

fn request(method: &Method, route: &Route) -> hyper::http::request::Builder {
    Request::builder().method(method).uri(format!("{API_PREFIX}{}", route.0)).header(HOST, "banger")
}

/// What the daemon says is wrong, or that it says nothing we know.
async fn refusal(route: &Route, answer: Response<Incoming>) -> ClientError {
    let status = answer.status();
    match read_all(answer).await {
        Ok(bytes) => match serde_json::from_slice::<ErrorBody>(&bytes) {
            Ok(body) => ClientError::Api(Box::new(body)),
            Err(_) => ClientError::Status { path: route.0.clone(), status },
        },
        Err(error) => error,
    }
}

async fn read_all(answer: Response<Incoming>) -> Result<Bytes, ClientError> {
    let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await.map_err(ClientError::BrokeOff)?;
    Ok(body.to_bytes())
}

fn empty() -> Outgoing {
    full(Bytes::new())
}

fn full(bytes: Bytes) -> Outgoing {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

fn json<T: Serialize>(route: &Route, body: &T) -> Result<Outgoing, ClientError> {
    match serde_json::to_vec(body) {
        Ok(bytes) => Ok(full(bytes.into())),
        Err(source) => Err(ClientError::Strange { path: route.0.clone(), source }),
    }
}

/// Makes any stream of bytes a body.
pub(crate) fn streamed<B>(body: B) -> Outgoing
where
    B: Body<Data = Bytes, Error = io::Error> + Send + Sync + 'static,
{
    body.boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_is_told() {
        assert_eq!(other_version(Some("1.2.3"), "1.2.3"), None);
        assert_eq!(other_version(None, "1.2.3"), None);
        assert!(
            other_version(Some("1.2.4"), "1.2.3").unwrap().starts_with("the daemon is of version 1.2.4, this is 1.2.3")
        );
    }

    #[test]
    fn routes_escape_their_parts() {
        let route = Route::new(["images", "docker://127.0.0.1:5000/a/b:1"]);
        assert_eq!(route.0, "/images/docker%3A%2F%2F127.0.0.1%3A5000%2Fa%2Fb%3A1");
        let route = Route::new(["vms", "box", "files"]).query("path", "/a b?&c").query("x", "1");
        assert_eq!(route.0, "/vms/box/files?path=%2Fa%20b%3F%26c&x=1");
    }
}
