//! Files in and out of a guest, as a tar. The bytes are passed on as the other end takes them, and are nobody's here: a
//! client must not trust names in a tar from a guest. What goes wrong before the first byte is an ordinary answer; what
//! goes wrong later breaks the connection off, so that a tar that is not whole cannot be taken for one that is.

use super::{
    error::Failure,
    extract::{Path, Query},
    running::Running,
};
use crate::{
    App,
    guest::{Channel, Incoming, STALL_BOUND},
};
use axum::{
    body::Body as HttpBody,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use banger_model::{
    api::error::ErrorBody,
    wire::{
        Body, Stream,
        guest::{CopyIn, ExitStatus, Request},
    },
};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use std::sync::Arc;
use tokio::time::timeout;

/// How much of what the guest complains is kept, in bytes.
const MAX_COMPLAINT: usize = 4096;

/// Where in the guest.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct FilesQuery {
    /// An absolute path in the guest.
    path: String,
}

impl FilesQuery {
    fn check(self) -> Result<String, Failure> {
        match self.path.starts_with('/') && !self.path.contains('\0') {
            true => Ok(self.path),
            false => Err(Failure::bad("path in the guest", NotAbsolute(self.path))),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not an absolute path")]
struct NotAbsolute(String);

/// A copy under way.
struct Copy {
    running: Running,
    channel: Channel,
    path: String,
    way: &'static str,
    complaint: BytesMut,
}

/// Sends a file or folder of the guest as a tar.
#[utoipa::path(
    get, path = "/vms/{name}/files", tag = "vms",
    params(("name" = String, Path, description = "The VM"), FilesQuery),
    responses(
        (status = 200, description = "A tar, whose top entry is the path's last component; broken off when it fails", content_type = "application/x-tar"),
        (status = "default", description = "Nothing was sent", body = ErrorBody),
    ),
)]
pub(super) async fn copy_out(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    Query(query): Query<FilesQuery>,
) -> Result<Response, Failure> {
    let path = query.check()?;
    let running = Running::find(&app, &name).await?;
    let (channel, _) = running.request("copy files", Request::CopyOut { path: path.clone() }).await?;
    let mut copy = Copy { running, channel, path, way: "out of", complaint: BytesMut::new() };
    // Whatever the guest finds wrong at once is told in order.
    let first = copy.next_chunk().await?;
    let rest = stream::unfold(Some(copy), |copy| async move {
        let mut copy = copy?;
        match copy.next_chunk().await {
            Ok(Some(chunk)) => Some((Ok(chunk), Some(copy))),
            Ok(None) => None,
            Err(failure) => {
                tracing::warn!(error = &failure as &dyn std::error::Error, "broke off a tar");
                Some((Err(failure), None))
            }
        }
    });
    let whole = stream::iter(first.map(Ok)).chain(rest);
    Ok(([(header::CONTENT_TYPE, "application/x-tar")], HttpBody::from_stream(whole)).into_response())
}

/// Writes a tar into the guest.
#[utoipa::path(
    put, path = "/vms/{name}/files", tag = "vms",
    params(("name" = String, Path, description = "The VM"), FilesQuery),
    request_body(content_type = "application/x-tar", description = "A tar with one top entry"),
    responses(
        (status = 204, description = "All of it has been written"),
        (status = "default", description = "Not all of it has been written", body = ErrorBody),
    ),
)]
pub(super) async fn copy_in(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    Query(query): Query<FilesQuery>,
    body: HttpBody,
) -> Result<StatusCode, Failure> {
    let path = query.check()?;
    let running = Running::find(&app, &name).await?;
    let request = Request::CopyIn(CopyIn { path: path.clone(), owner: None });
    let (channel, _) = running.request("copy files", request).await?;
    let mut copy = Copy { running, channel, path, way: "into", complaint: BytesMut::new() };
    copy.take_in(body).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a guest that copies says.
enum News {
    Chunk(Bytes),
    Done,
}

impl Copy {
    /// The next piece of the guest's tar. Asked for only once the one before has been taken, so that is credited here.
    async fn next_chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let incoming = timeout(STALL_BOUND, self.incoming()).await.map_err(|_| self.stuck())??;
            match self.take(incoming).await? {
                Some(News::Chunk(chunk)) => {
                    self.credit(Stream::Stdout, chunk.len()).await?;
                    return Ok(Some(chunk));
                }
                Some(News::Done) => return Ok(None),
                None => {}
            }
        }
    }

    /// Passes the client's tar on, as the guest has room for it, and waits until the guest has written it.
    async fn take_in(&mut self, body: HttpBody) -> Result<(), Failure> {
        let mut body = body.into_data_stream();
        let mut data = Bytes::new();
        let mut whole = false;
        loop {
            if let Err(error) = self.channel.feed(&mut data).await {
                return Err(self.running.failed("copy files", error).await);
            }
            // The guest takes it as soon as it is written, so one that has no room is at work, or stuck.
            let stuck = !data.is_empty();
            tokio::select! {
                () = tokio::time::sleep(STALL_BOUND), if stuck => return Err(self.stuck()),
                incoming = self.incoming() => if let Some(News::Done) = self.take(incoming?).await? {
                    return Ok(());
                },
                // A client that breaks off drops us, and with us the channel: the guest gives up.
                chunk = body.next(), if data.is_empty() && !whole => match chunk {
                    Some(chunk) => data = chunk.map_err(|error| Failure::bad("tar", error))?,
                    None => {
                        whole = true;
                        self.send(Body::Eof(Stream::Stdin)).await?;
                    }
                },
            }
        }
    }

    /// What comes next from the guest. May be given up without losing anything.
    async fn incoming(&self) -> Result<Incoming, Failure> {
        tokio::select! {
            biased;
            incoming = self.channel.next() => Ok(incoming),
            () = self.running.app.shutdown.cancelled() => Err(Failure::ShuttingDown),
        }
    }

    /// What that means.
    async fn take(&mut self, incoming: Incoming) -> Result<Option<News>, Failure> {
        Ok(match incoming {
            Incoming::Lost => return Err(self.running.lost().await),
            Incoming::Body(Body::Data(Stream::Stderr, text)) => {
                let room = MAX_COMPLAINT.saturating_sub(self.complaint.len()).min(text.len());
                self.complaint.extend_from_slice(&text[..room]);
                self.credit(Stream::Stderr, text.len()).await?;
                None
            }
            Incoming::Body(Body::Data(_, chunk)) => Some(News::Chunk(chunk)),
            Incoming::Body(Body::Exit(ExitStatus::Code(0))) => Some(News::Done),
            Incoming::Body(Body::Exit(status)) => return Err(self.failure(status)),
            Incoming::Body(_) => None,
        })
    }

    /// The client has taken that much, or the guest's complaint has been read.
    async fn credit(&self, stream: Stream, bytes: usize) -> Result<(), Failure> {
        // Pieces of data are far below four gigabytes.
        let Ok(bytes) = u32::try_from(bytes) else { return Ok(()) };
        self.send(Body::Credit(stream, bytes)).await
    }

    async fn send(&self, body: Body) -> Result<(), Failure> {
        match self.channel.send(body).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.running.failed("copy files", error).await),
        }
    }

    fn stuck(&self) -> Failure {
        let reason = format!("nothing of it came on for {} s; the guest may hang", STALL_BOUND.as_secs());
        Failure::Copy { vm: self.running.vm.name.clone(), path: self.path.clone(), way: self.way, reason }
    }

    fn failure(&self, status: ExitStatus) -> Failure {
        let complaint = banger_vmm::console::last_lines(&self.complaint, 4).join("; ");
        let reason = match (complaint.is_empty(), status) {
            (false, _) => complaint,
            (true, ExitStatus::Code(code)) => format!("the agent's copy ended with status {code}"),
            (true, ExitStatus::Signal(signal)) => format!("signal {signal} ended the agent's copy"),
        };
        Failure::Copy { vm: self.running.vm.name.clone(), path: self.path.clone(), way: self.way, reason }
    }
}
