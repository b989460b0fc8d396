//! From an HTTP request to a stream of frames.

use super::{Client, ClientError, Route, json, op_of, refusal, request};
use banger_model::{
    OpId, VmName,
    api::{EXEC_PROTOCOL, exec::ExecRequest},
};
use hyper::{
    Method, StatusCode,
    header::{CONNECTION, CONTENT_TYPE, UPGRADE},
    upgrade::Parts,
};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// A connection that carries frames.
#[derive(Debug)]
pub(crate) struct ExecStream {
    /// The socket itself.
    pub(crate) stream: UnixStream,
    /// What came right behind the answer's head.
    pub(crate) early: bytes::Bytes,
    /// What the daemon calls the operation.
    pub(crate) op: Option<OpId>,
}

impl Client<'_> {
    /// Asks for a command and takes over the connection.
    pub(crate) async fn exec(&self, vm: &VmName, command: &ExecRequest) -> Result<ExecStream, ClientError> {
        let route = Route::new(["vms", vm.as_str(), "exec"]);
        let mut sender = self.connection().await?;
        let request = request(&Method::POST, &route)
            .header(CONTENT_TYPE, "application/json")
            .header(CONNECTION, "upgrade")
            .header(UPGRADE, EXEC_PROTOCOL)
            .body(json(&route, command)?)
            .map_err(|source| ClientError::Request { path: route.0.clone(), source })?;
        let answer = sender.send_request(request).await.map_err(ClientError::Lost)?;
        self.trace(&Method::POST, &route, &answer);
        match answer.status() {
            StatusCode::SWITCHING_PROTOCOLS => {}
            status if status.is_success() => return Err(ClientError::Status { path: route.0, status }),
            _ => return Err(refusal(&route, answer).await),
        }
        let op = op_of(&answer);
        let upgraded = hyper::upgrade::on(answer).await.map_err(ClientError::Lost)?;
        match upgraded.downcast::<TokioIo<UnixStream>>() {
            Ok(Parts { io, read_buf, .. }) => Ok(ExecStream { stream: io.into_inner(), early: read_buf, op }),
            // Every connection of ours is a Unix stream.
            Err(_) => Err(ClientError::Status { path: route.0, status: StatusCode::SWITCHING_PROTOCOLS }),
        }
    }
}
