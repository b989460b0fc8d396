//! One session with one agent.
//!
//! Tasks: a *reader* decodes frames and puts each into its channel's mailbox; a *writer* sends what the channels queue. Both
//! end with the session; [`Session::closed`] tells. The reader never waits for a consumer, so one that does not read holds
//! up nobody else: what the guest may send it is bounded by the credit it gave.

use super::{
    Violation,
    channel::{Channel, Mailbox},
};
use crate::task;
use banger_model::wire::{
    Body, DecodeError, Decoder, Frame,
    guest::{GuestConfig, GuestFacts, Refusal, Reply, Request},
    hello::{Greeting, Hunt, VERSION},
};
use bytes::{Bytes, BytesMut};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Frames that may wait for the guest to read. Data among them is bounded by the guest's credit as well.
const WRITE_QUEUE: usize = 64;
/// How much is put together for one write, in bytes.
const WRITE_SIZE: usize = 128 * 1024;
/// How long the agent may take to answer a request. It answers as soon as it has begun, and never waits for a disk.
const ANSWER_BOUND: Duration = Duration::from_secs(60);

/// How long a guest may take nothing of what is sent to it, though its VMM runs, or nothing of a copy. What a command does not
/// read waits in the guest, so this says nothing about commands. Tests cannot wait that long.
pub(crate) const STALL_BOUND: Duration = Duration::from_secs(if cfg!(test) { 3 } else { 60 });

/// Why there is no answer from the guest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("the connection to the agent in the guest")]
    Io(#[from] std::io::Error),
    #[error("a frame between host and guest is not usable")]
    Frame(#[from] DecodeError),
    #[error("the protocol between host and guest was broken")]
    Broken(#[from] Violation),
    #[error("the agent in the guest speaks version {0} of the protocol, not {VERSION}")]
    Version(u16),
    #[error("the session with the agent in the guest has ended")]
    Ended,
    #[error("the agent in the guest refused")]
    Refused(#[source] Refusal),
    #[error("the agent in the guest did not answer within {} s", .0.as_secs())]
    Silent(Duration),
    #[error("the guest took nothing of what was sent to its agent for {} s", STALL_BOUND.as_secs())]
    Stalled,
}

#[derive(Default)]
struct Routes {
    latest: u32,
    open: HashMap<u32, Arc<Mailbox>>,
}

struct Shared {
    routes: Mutex<Routes>,
    writer: mpsc::Sender<Bytes>,
    closed: CancellationToken,
    /// It was given up because the guest took nothing.
    stalled: AtomicBool,
}

/// A session; cheap to clone. It ends when the stream does, or when the last clone and channel are gone.
#[derive(Clone)]
pub(crate) struct Session {
    shared: Arc<Shared>,
    _end: Arc<DropGuard>,
}

impl Session {
    /// Greets, and waits for the answer: as long as it takes, since the greeting waits in a buffer until the agent is up.
    /// The caller bounds it, and may try again on another connection.
    pub(crate) async fn open(stream: UnixStream) -> Result<Self, SessionError> {
        let (mut read, mut write) = stream.into_split();
        let greeting = Greeting { version: VERSION, nonce: crate::clock::entropy() };
        write.write_all(&greeting.to_guest()).await?;
        let rest = answer(&mut read, greeting).await?;
        Ok(Self::start(read, write, &rest))
    }

    fn start(read: OwnedReadHalf, write: OwnedWriteHalf, rest: &[u8]) -> Self {
        let (writer, queue) = mpsc::channel(WRITE_QUEUE);
        let closed = CancellationToken::new();
        let stalled = AtomicBool::new(false);
        let shared = Arc::new(Shared { routes: Mutex::default(), writer, closed: closed.clone(), stalled });
        let mut decoder = Decoder::default();
        decoder.feed(rest);
        let reader = Arc::clone(&shared);
        // Their words belong to the operation that opened the session: most are its own end.
        task::spawn(async move {
            let ended = tokio::select! {
                () = reader.closed.cancelled() => Ok(()),
                ended = read_frames(read, decoder, &reader) => ended,
            };
            if let Err(error) = ended {
                tracing::warn!(error = &error as &dyn std::error::Error, "the session with the guest broke off");
            }
            reader.end();
        });
        // It must not keep the queue open that it reads.
        let (ends, sender) = (closed.clone(), Arc::downgrade(&shared));
        task::spawn(async move {
            let ended = tokio::select! {
                () = ends.cancelled() => return,
                ended = write_frames(write, queue) => ended,
            };
            if let (Err(error @ SessionError::Stalled), Some(shared)) = (ended, sender.upgrade()) {
                tracing::warn!(error = &error as &dyn std::error::Error, "the session with the guest was given up");
                shared.stalled.store(true, Ordering::Relaxed);
            }
            ends.cancel();
        });
        Self { shared, _end: Arc::new(closed.drop_guard()) }
    }

    /// Resolves when the session has ended.
    pub(crate) async fn closed(&self) {
        self.shared.closed.cancelled().await;
    }

    /// Whether the session has ended because the guest took nothing any more.
    pub(crate) fn stalled(&self) -> bool {
        self.shared.stalled.load(Ordering::Relaxed)
    }

    /// Begins a request on a new channel, and waits until the guest has taken it.
    pub(crate) async fn request(&self, request: Request) -> Result<(Channel, Reply), SessionError> {
        let channel = self.channel()?;
        let begun = async {
            channel.send(Body::Open(Box::new(request))).await?;
            channel.accepted().await
        };
        let reply = timeout(ANSWER_BOUND, begun).await.map_err(|_| SessionError::Silent(ANSWER_BOUND))??;
        Ok((channel, reply))
    }

    fn channel(&self) -> Result<Channel, SessionError> {
        let mailbox = Arc::new(Mailbox::default());
        let id = self.shared.routes().add(&mailbox);
        let channel = Channel::new(id, self.clone(), mailbox);
        // Looked at after the route was made: a session that ends from here on finds the mailbox and says so in it.
        match self.shared.closed.is_cancelled() {
            true => Err(SessionError::Ended),
            false => Ok(channel),
        }
    }

    /// Gives the guest its own facts; it answers with what only it knows.
    pub(crate) async fn configure(&self, config: GuestConfig) -> Result<GuestFacts, SessionError> {
        match self.request(Request::Configure(config)).await? {
            (_, Reply::Ready(facts)) => Ok(facts),
            _ => Err(Violation("another answer than ready to configure").into()),
        }
    }

    /// Asks the guest to end in order.
    pub(crate) async fn shutdown(&self) -> Result<(), SessionError> {
        self.request(Request::Shutdown).await.map(drop)
    }

    /// The queue to the guest.
    pub(super) fn writer(&self) -> &mpsc::Sender<Bytes> {
        &self.shared.writer
    }

    /// Nobody reads that channel any more. Whether the session still goes on.
    pub(super) fn forget(&self, channel: u32) -> bool {
        self.shared.routes().open.remove(&channel);
        !self.shared.closed.is_cancelled()
    }
}

impl Routes {
    /// A channel that no other has: ids are used again only after four thousand million others.
    fn add(&mut self, mailbox: &Arc<Mailbox>) -> u32 {
        loop {
            self.latest = self.latest.wrapping_add(1);
            if !self.open.contains_key(&self.latest) {
                self.open.insert(self.latest, Arc::clone(mailbox));
                return self.latest;
            }
        }
    }
}

impl Shared {
    fn routes(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        self.closed.cancel();
        let open = std::mem::take(&mut self.routes().open);
        open.values().for_each(|mailbox| mailbox.lose());
    }

    /// Puts a frame into its channel's mailbox, if the channel may have it.
    fn deliver(&self, frame: Frame) -> Result<(), Violation> {
        let mailbox = self.routes().open.get(&frame.channel).cloned();
        match mailbox {
            Some(mailbox) => mailbox.deliver(frame.body),
            // It crossed our close of its channel: nobody wants it any more.
            None => Ok(()),
        }
    }
}

/// Reads up to the answer to our own greeting; returns what came after it.
async fn answer(read: &mut OwnedReadHalf, sent: Greeting) -> Result<Vec<u8>, SessionError> {
    let mut hunt = Hunt::for_guest();
    let mut buffer = vec![0; 4096];
    loop {
        let n = read.read(&mut buffer).await?;
        if n == 0 {
            return Err(SessionError::Ended);
        }
        let mut found = hunt.feed(&buffer[..n]);
        while let Some((answer, rest)) = found {
            match answer.version {
                // An answer to somebody before us.
                _ if answer.nonce != sent.nonce => found = hunt.feed(&rest),
                VERSION => return Ok(rest),
                other => return Err(SessionError::Version(other)),
            }
        }
    }
}

async fn read_frames(mut read: OwnedReadHalf, mut decoder: Decoder, shared: &Shared) -> Result<(), SessionError> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        while let Some(frame) = decoder.next_frame()? {
            shared.deliver(frame)?;
        }
        match read.read(&mut buffer).await? {
            0 => return Ok(()),
            n => decoder.feed(&buffer[..n]),
        }
    }
}

async fn write_frames(mut write: OwnedWriteHalf, mut queue: mpsc::Receiver<Bytes>) -> Result<(), SessionError> {
    let mut buffer = BytesMut::new();
    while let Some(frame) = queue.recv().await {
        buffer.extend_from_slice(&frame);
        // What else is waiting goes with it.
        while buffer.len() < WRITE_SIZE {
            let Ok(frame) = queue.try_recv() else { break };
            buffer.extend_from_slice(&frame);
        }
        while !buffer.is_empty() {
            let taken = timeout(STALL_BOUND, write.write_buf(&mut buffer)).await.map_err(|_| SessionError::Stalled)?;
            if taken? == 0 {
                return Err(SessionError::Ended);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
