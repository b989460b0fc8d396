//! Saying it: HTTP/1.1 over Firecracker's Unix socket.
//!
//! It serves one request after the other, whoever asks. Every answer is bounded, in time and in size.

use super::resource::{BalloonStats, Fault, Put};
use crate::console;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, StatusCode, header};
use hyper_util::rt::TokioIo;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long an answer may take while the guest is being made. Starting it reads the whole kernel and initramfs into the
/// guest's memory.
const START_BOUND: Duration = Duration::from_secs(20);
/// How long an answer may take once the guest runs.
const RUNNING_BOUND: Duration = Duration::from_secs(5);
/// Longest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// Firecracker did not do as it was asked.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message says what it is")]
pub enum ApiError {
    #[error("its API cannot be reached")]
    Connect(#[source] io::Error),
    #[error("its API does not speak HTTP")]
    Handshake(#[source] hyper::Error),
    #[error("{call} cannot be said")]
    Encode { call: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{call} was not answered")]
    Http { call: String, source: hyper::Error },
    #[error("{call} was not answered within {} seconds", bound.as_secs_f32())]
    Late { call: String, bound: Duration },
    #[error("the answer to {call} cannot be read")]
    Body { call: String, source: Box<dyn std::error::Error + Send + Sync> },
    /// With the reason that it gives.
    #[error("it refuses {call} ({status}): {reason}")]
    Refused { call: String, status: StatusCode, reason: String },
}

/// A conversation with one Firecracker.
#[derive(Debug)]
pub struct Api {
    sender: SendRequest<Full<Bytes>>,
    connection: JoinHandle<hyper::Result<()>>,
    bound: Duration,
}

impl Drop for Api {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Api {
    /// With one that has just been started. Waits for ever for its socket to appear: the caller bounds that and watches for
    /// Firecracker's exit.
    pub(crate) async fn of_new(socket: &Path) -> Result<Self, ApiError> {
        let stream = crate::socket::connect(socket).await.map_err(ApiError::Connect)?;
        Self::on(stream, START_BOUND).await
    }

    /// With one that runs. Each answer may take five seconds.
    ///
    /// # Errors
    /// When nothing listens there.
    pub async fn of_running(socket: &Path) -> Result<Self, ApiError> {
        let stream = UnixStream::connect(socket).await.map_err(ApiError::Connect)?;
        Self::on(stream, RUNNING_BOUND).await
    }

    async fn on(stream: UnixStream, bound: Duration) -> Result<Self, ApiError> {
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(ApiError::Handshake)?;
        Ok(Self { sender, connection: tokio::spawn(connection), bound })
    }

    /// Sets a resource, or acts.
    ///
    /// # Errors
    /// When it refuses, or does not answer in time.
    pub async fn put(&mut self, put: &Put) -> Result<(), ApiError> {
        let path = put.path();
        let body = serde_json::to_vec(put)
            .map_err(|source| ApiError::Encode { call: format!("PUT {path}"), source: source.into() })?;
        self.call(Method::PUT, &path, body).await.map(drop)
    }

    /// What the guest last said of its memory.
    ///
    /// # Errors
    /// As [`Api::put`]; also when there is no balloon, or it tells nothing.
    pub async fn balloon_stats(&mut self) -> Result<BalloonStats, ApiError> {
        let path = "/balloon/statistics";
        let answer = self.call(Method::GET, path, Vec::new()).await?;
        serde_json::from_slice(&answer)
            .map_err(|source| ApiError::Body { call: format!("GET {path}"), source: source.into() })
    }

    async fn call(&mut self, method: Method, path: &str, body: Vec<u8>) -> Result<Bytes, ApiError> {
        let call = format!("{method} {path}");
        let bound = self.bound;
        match timeout(bound, self.exchange(method, path, body, &call)).await {
            Ok(answer) => answer,
            Err(_) => Err(ApiError::Late { call, bound }),
        }
    }

    async fn exchange(&mut self, method: Method, path: &str, body: Vec<u8>, call: &str) -> Result<Bytes, ApiError> {
        let call = || call.to_owned();
        let mut message = hyper::Request::builder().method(method).uri(path).header(header::HOST, "localhost");
        if !body.is_empty() {
            message = message.header(header::CONTENT_TYPE, "application/json");
        }
        let message = message
            .body(Full::new(Bytes::from(body)))
            .map_err(|source| ApiError::Encode { call: call(), source: source.into() })?;
        let answer =
            self.sender.send_request(message).await.map_err(|source| ApiError::Http { call: call(), source })?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|source| ApiError::Body { call: call(), source })?.to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        let reason =
            serde_json::from_slice::<Fault>(&body).map_or_else(|_| body.to_vec(), |f| f.fault_message.into_bytes());
        Err(ApiError::Refused { call: call(), status, reason: console::clean(&reason) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    /// Whatever a Firecracker that was taken over says: an answer, or an error.
    #[test]
    #[expect(clippy::print_stdout, reason = "how much was tried is for the reader of the log")]
    fn fuzzed_answers() {
        let answer = |status: &str, body: &str| {
            format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
        };
        let corpus = [
            answer("200 OK", r#"{"target_pages":1,"actual_pages":2,"target_mib":3,"actual_mib":4,"free_memory":5}"#),
            answer("400 Bad Request", r#"{"fault_message":"no"}"#),
            answer("204 No Content", ""),
        ];
        let words: [&[u8]; 5] = [
            b"Transfer-Encoding: chunked\r\n",
            b"\r\n\r\n",
            b"ffffffffffffffff\r\n",
            b"HTTP/1.1 100 \r\n\r\n",
            b"\x1b[2J",
        ];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        println!(
            "{}",
            banger_damage::fuzz::fuzz("Firecracker API", &corpus, &words, 4 << 20, |bytes| {
                let talk = async {
                    let (ours, mut theirs) = UnixStream::pair().unwrap();
                    let said = async {
                        let _hung_up = theirs.write_all(bytes).await;
                        let _hung_up = theirs.shutdown().await;
                        let _all = tokio::io::copy(&mut theirs, &mut tokio::io::sink()).await;
                    };
                    let asked = async { Api::on(ours, Duration::from_secs(60)).await?.balloon_stats().await };
                    let (answer, ()) = tokio::join!(asked, said);
                    match answer {
                        Err(ApiError::Late { .. }) => panic!("it waits for more from who has hung up"),
                        Err(error) => assert!(!error.to_string().contains('\x1b'), "it is fit for a terminal"),
                        Ok(_) => {}
                    }
                };
                runtime.block_on(talk);
            })
        );
    }
}
