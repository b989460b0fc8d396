//! From connections to requests, and back to nothing: each connection carries one request, and each is answered, by the
//! router or here.
//!
//! What never becomes a request, because it comes from another user, is no HTTP or breaks off too early, has an operation's
//! id like any other: minted here, in the log, and in what the peer is told.

use super::socket::{ApiSocket, Stranger};
use crate::api::{Unreadable, refuse};
use axum::{Router, body::Body};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{
    io::{self, IoSlice},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tower::Service;
use tracing::Instrument;

/// Answers at the socket until `ending`, then until all answers have ended. When it is dropped, so are they.
pub(super) async fn serve(socket: ApiSocket, router: Router, ending: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = ending.cancelled() => break,
            Some(_) = connections.join_next() => {}
            peer = socket.accept() => match peer {
                Ok(stream) => {
                    drop(connections.spawn(answer(stream, router.clone(), ending.clone()).in_current_span()));
                }
                Err(Stranger { stream, uid }) => turn_away(&stream, uid),
            },
        }
    }
    drop(socket);
    while connections.join_next().await.is_some() {}
}

/// Another user is told that this is not theirs, and no more: what they send is not read.
fn turn_away(stream: &UnixStream, uid: Option<u32>) {
    // A few hundred bytes fit into a socket that is fresh.
    let _ = stream.try_write(&refuse(Unreadable::Stranger { uid }));
}

async fn answer(stream: UnixStream, router: Router, ending: CancellationToken) {
    let reached = Arc::new(AtomicBool::new(false));
    let gate = Gate { stream, reached: Arc::clone(&reached), heard: false, objected: false };
    let service = service_fn(|request: Request<Incoming>| {
        reached.store(true, Ordering::Relaxed);
        router.clone().call(request.map(Body::new))
    });
    let serving = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(gate), service);
    let mut serving = pin!(serving.with_upgrades());
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = ending.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = &error as &dyn std::error::Error, "a connection ended badly");
    }
}

/// The stream of a connection. What the HTTP library would say by itself, before any request has reached the router, is
/// kept back: we say it, with an operation's id.
struct Gate {
    stream: UnixStream,
    reached: Arc<AtomicBool>,
    /// Something came.
    heard: bool,
    /// The library had something to say about it.
    objected: bool,
}

impl Gate {
    fn reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if self.heard && !self.reached() {
            let why = if self.objected { Unreadable::NoHttp } else { Unreadable::BrokeOff };
            // A peer that has gone is not told.
            let _ = self.stream.try_write(&refuse(why));
        }
    }
}

impl AsyncRead for Gate {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.heard |= buffer.filled().len() > before;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Gate {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.reached() {
            return Pin::new(&mut self.stream).poll_write(cx, bytes);
        }
        self.objected = true;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.reached() {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        }
        self.objected = true;
        Poll::Ready(Ok(pieces.iter().map(|piece| piece.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.reached() {
            true => Pin::new(&mut self.stream).poll_shutdown(cx),
            // We have not spoken yet.
            false => Poll::Ready(Ok(())),
        }
    }
}
