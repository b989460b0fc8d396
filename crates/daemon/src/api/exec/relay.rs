//! Frames between a client and the guest. Pure passing on: what the command writes is read from the guest only as far as
//! the client has given credit, and the other way round, so nothing piles up here.

use crate::{
    api::{error::Failure, running::Running},
    guest::{Channel, Incoming, SessionError, Violation},
    verbs::chain,
};
use banger_model::{
    api::EXEC_CHANNEL,
    wire::{
        Body, Decoder, Frame, Stream,
        guest::{Refusal, Reply},
    },
};
use bytes::BytesMut;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};
use tracing::Instrument;

/// How much is put together for one write, in bytes.
const WRITE_SIZE: usize = 128 * 1024;
/// How long a client may take to read the last frame and hang up.
const LINGER: Duration = Duration::from_secs(2);

/// Passes frames on as soon as the connection has been upgraded.
pub(super) fn begin(running: Running, channel: Channel, reply: Reply, upgrade: OnUpgrade) {
    let app = Arc::clone(&running.app);
    let task = async move {
        match upgrade.await {
            Ok(stream) => pass(&running, channel, reply, TokioIo::new(stream)).await,
            Err(error) => {
                tracing::info!(error = &error as &dyn std::error::Error, "the client left before its command ran")
            }
        }
    };
    app.tasks.spawn(task.in_current_span());
}

/// How it came to an end.
enum End {
    /// The last frame has been passed on.
    Over,
    /// The client has gone.
    Gone,
    /// The client does not speak the protocol, and is told so.
    Violation(Box<Failure>),
    /// The guest has gone.
    Guest,
    ShuttingDown,
}

async fn pass<S: AsyncRead + AsyncWrite>(running: &Running, channel: Channel, reply: Reply, stream: S) {
    let (mut read, mut write) = tokio::io::split(stream);
    let end = tokio::select! {
        biased;
        end = to_client(&channel, reply, &mut write) => end,
        end = to_guest(&channel, &mut read) => end,
        () = running.app.shutdown.cancelled() => End::ShuttingDown,
    };
    // Now, and not after the farewells: a command that has lost its client is to end.
    drop(channel);
    let failure = match end {
        End::Gone => return,
        End::Over => None,
        End::Violation(failure) => Some(*failure),
        End::Guest => Some(running.lost().await),
        End::ShuttingDown => Some(Failure::ShuttingDown),
    };
    let farewell = async {
        if let Some(failure) = failure {
            tracing::warn!(error = &failure as &dyn std::error::Error, "the command was lost");
            write.write_all(&last_words(&failure)).await?;
        }
        write.shutdown().await?;
        // What the client sent before it knew is taken in, so that it meets no broken pipe.
        tokio::io::copy(&mut read, &mut tokio::io::sink()).await
    };
    // Bounded: a client that neither reads nor hangs up must not hold up the daemon's end.
    let _ = timeout(LINGER, farewell).await;
}

/// The last frame of a command that was lost.
fn last_words(failure: &Failure) -> BytesMut {
    let reason = chain(failure);
    let refusal = Refusal::Failed { what: "the command was lost".into(), reason };
    let mut bytes = BytesMut::new();
    let _ = Frame { channel: EXEC_CHANNEL, body: Body::Refuse(refusal) }.encode(&mut bytes);
    bytes
}

async fn to_client<W: AsyncWrite + Unpin>(channel: &Channel, reply: Reply, write: &mut W) -> End {
    let mut buffer = BytesMut::new();
    let mut incoming = Incoming::Body(Body::Accept(Box::new(reply)));
    loop {
        let end = gather(channel, incoming, &mut buffer);
        if write.write_all(&buffer).await.is_err() || write.flush().await.is_err() {
            return End::Gone;
        }
        if let Some(end) = end {
            return end;
        }
        buffer.clear();
        incoming = channel.next().await;
    }
}

/// Puts what came, and whatever else is here, into one write. Tells when nothing comes after it.
fn gather(channel: &Channel, first: Incoming, buffer: &mut BytesMut) -> Option<End> {
    let mut next = Some(first);
    while let Some(incoming) = next {
        let Incoming::Body(body) = incoming else { return Some(End::Guest) };
        let last = matches!(body, Body::Exit(_));
        // What the guest sent fitted a frame, and what the channel joined is no longer than that.
        let _ = Frame { channel: EXEC_CHANNEL, body }.encode(buffer);
        if last {
            return Some(End::Over);
        }
        next = if buffer.len() < WRITE_SIZE { channel.try_next() } else { None };
    }
    None
}

async fn to_guest<R: AsyncRead + Unpin>(channel: &Channel, read: &mut R) -> End {
    let mut decoder = Decoder::default();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        loop {
            let frame = match decoder.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => return strange(error),
            };
            match forward(channel, frame).await {
                Ok(true) => {}
                Ok(false) => return End::Gone,
                Err(SessionError::Broken(violation)) => return strange(violation),
                // The other direction sees it too, after what the guest sent last.
                Err(_) => std::future::pending().await,
            }
        }
        match read.read(&mut buffer).await {
            Ok(0) | Err(_) => return End::Gone,
            Ok(n) => decoder.feed(&buffer[..n]),
        }
    }
}

/// Passes a client's frame on, if a client may send it. False when the client wants no more.
async fn forward(channel: &Channel, frame: Frame) -> Result<bool, SessionError> {
    match frame.body {
        _ if frame.channel != EXEC_CHANNEL => Err(Violation("a frame on another channel").into()),
        Body::Close => Ok(false),
        Body::Data(Stream::Stdin, ref data) if data.is_empty() => Ok(true),
        body @ (Body::Data(Stream::Stdin, _)
        | Body::Eof(Stream::Stdin)
        | Body::Credit(Stream::Stdout | Stream::Stderr, _)
        | Body::Control(_)) => channel.send(body).await.map(|()| true),
        _ => Err(Violation("a frame that only the guest sends").into()),
    }
}

fn strange(source: impl std::error::Error + Send + Sync + 'static) -> End {
    End::Violation(Box::new(Failure::Client { source: Box::new(source) }))
}
