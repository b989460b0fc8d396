//! The API over a real socket, on a modelled host whose guests have an agent that follows a script.

mod before;
pub(super) mod early;
mod exec;
mod files;
mod guest;
mod logs;
mod operations;
mod refusals;
mod stats;
mod waiting;

use super::*;
use crate::{host::fake::Agent, lifecycle::Daemon};
use axum::http::{HeaderMap, HeaderName, Request, StatusCode};
use banger_model::api::{OP_HEADER, error::ErrorBody};
use bytes::Bytes;
use guest::Seen;
use http_body_util::{BodyExt, Full};
use hyper::{
    Response,
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

/// A daemon that answers.
pub(super) struct Api {
    daemon: Daemon,
    pub(super) app: Arc<App>,
    seen: Arc<Seen>,
    bench: Bench,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    pub(super) headers: HeaderMap,
    body: Bytes,
}

impl Api {
    async fn new() -> Self {
        Self::logging(|_| Ok(())).await
    }

    /// With a log that is begun so.
    pub(super) async fn logging(log: impl FnOnce(&Paths) -> std::io::Result<()>) -> Self {
        let bench = Bench::new();
        let seen = Arc::<Seen>::default();
        let served = Arc::clone(&seen);
        let agent = Agent(Box::new(move |stream| Box::pin(guest::serve(stream, Arc::clone(&served)))));
        bench.world.agent.set(agent).unwrap();
        bench.world.consoles.set(bench.folder.path().to_owned()).unwrap();
        let daemon = Daemon::open(bench.paths(), &bench.parts(), log).await.unwrap();
        let app = Arc::clone(daemon.app());
        Self { daemon, app, seen, bench }
    }

    /// With the VM "box" running.
    async fn with_box() -> Self {
        let api = Self::new().await;
        arrange(&api.app, Target::Running).await;
        api
    }

    async fn connect(&self) -> SendRequest<Full<Bytes>> {
        let stream = UnixStream::connect(self.daemon.socket()).await.unwrap();
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        sender
    }

    /// Sends a request and returns once the head of its answer is here.
    async fn send(&self, what: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Response<Incoming> {
        self.try_send(what, headers, body).await.unwrap()
    }

    async fn try_send(
        &self,
        what: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> hyper::Result<Response<Incoming>> {
        let (method, path) = what.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(path).header("host", "x");
        for (name, value) in headers {
            request = request.header(HeaderName::try_from(*name).unwrap(), *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let sent = async { self.connect().await.send_request(request).await };
        tokio::time::timeout(BOUND, sent).await.expect("no answer")
    }

    pub(super) async fn ask(&self, what: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let (parts, body) = self.send(what, headers, body).await.into_parts();
        let body = tokio::time::timeout(BOUND, body.collect()).await.expect("an answer without an end").unwrap();
        Answer { status: parts.status, headers: parts.headers, body: body.to_bytes() }
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path}"), &[], "").await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(&format!("POST {path}"), &[("content-type", "application/json")], body.to_string()).await
    }
}

impl Answer {
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// One JSON object a line.
    pub(super) fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(self.text()).unwrap()
    }

    /// The refusal, whose operation is that of the header.
    pub(super) fn error(&self) -> ErrorBody {
        let body: ErrorBody = serde_json::from_str(self.text()).unwrap_or_else(|_| panic!("{self:?}"));
        assert!(!self.status.is_success());
        assert_eq!(self.headers[OP_HEADER], body.op.unwrap().to_string());
        body
    }
}
