//! Saying it: HTTP/1.1 over Firecracker's Unix socket.

use super::Request;
use crate::console;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;

/// How long one answer may take. Starting reads the whole kernel and initramfs into the guest's memory.
const ANSWER_BOUND: Duration = Duration::from_secs(20);
/// Longest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// Firecracker did not do as it was asked.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message says what it is")]
pub enum ApiError {
    #[error("its API cannot be reached")]
    Connect(#[source] io::Error),
    #[error("PUT {path} was not answered")]
    Http { path: String, source: hyper::Error },
    #[error("PUT {path} was not answered within {} seconds", ANSWER_BOUND.as_secs())]
    Late { path: String },
    #[error("the answer to PUT {path} cannot be read")]
    Body { path: String, source: Box<dyn std::error::Error + Send + Sync> },
    /// With the reason that it gives.
    #[error("it refuses PUT {path} ({status}): {reason}")]
    Refused { path: String, status: StatusCode, reason: String },
}

/// What its errors look like.
#[derive(Deserialize)]
struct Fault {
    fault_message: String,
}

/// Makes the requests one after the other, up to the first that fails. Waits for ever for the socket to appear: the caller
/// bounds that and watches for Firecracker's exit.
pub(crate) async fn put_all(socket: &Path, requests: &[Request]) -> Result<(), ApiError> {
    let stream = crate::socket::connect(socket).await.map_err(ApiError::Connect)?;
    let (mut sender, connection) =
        handshake(TokioIo::new(stream)).await.map_err(|source| ApiError::Http { path: "/".into(), source })?;
    let connection = tokio::spawn(connection);
    let mut outcome = Ok(());
    for request in requests {
        let late = || ApiError::Late { path: request.path.clone() };
        outcome = timeout(ANSWER_BOUND, put(&mut sender, request)).await.map_err(|_| late()).and_then(|answer| answer);
        if outcome.is_err() {
            break;
        }
    }
    connection.abort();
    outcome
}

async fn put(sender: &mut SendRequest<Full<Bytes>>, request: &Request) -> Result<(), ApiError> {
    let path = || request.path.clone();
    let message = hyper::Request::builder()
        .method(Method::PUT)
        .uri(&request.path)
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(request.body.to_string())))
        .map_err(|source| ApiError::Body { path: path(), source: source.into() })?;
    let answer = sender.send_request(message).await.map_err(|source| ApiError::Http { path: path(), source })?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
    let body = body.map_err(|source| ApiError::Body { path: path(), source })?.to_bytes();
    if status.is_success() {
        return Ok(());
    }
    let reason =
        serde_json::from_slice::<Fault>(&body).map_or_else(|_| body.to_vec(), |f| f.fault_message.into_bytes());
    Err(ApiError::Refused { path: path(), status, reason: console::clean(&reason) })
}
