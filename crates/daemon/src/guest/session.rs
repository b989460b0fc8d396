//! One session with one agent.
//!
//! Tasks: a *reader* decodes frames and hands each to its channel; a *writer* sends what the channels queue. Both end with
//! the session; [`Session::closed`] tells. Channel queues are unbounded in form, but what the guest may put into them is
//! bounded by the credit that consumers gave, and the reader enforces it.

use banger_model::wire::{
    Body, DecodeError, Decoder, Frame, Stream,
    frame::INITIAL_WINDOW,
    guest::{GuestConfig, GuestFacts, Refusal, Reply, Request},
    hello::{Greeting, Hunt, VERSION},
};
use bytes::BytesMut;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
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
use tokio_util::sync::CancellationToken;

/// Frames that may wait for the guest to read. Data among them is bounded by the guest's credit as well.
const WRITE_QUEUE: usize = 64;
/// How long a call that does no work may take.
const CALL_BOUND: Duration = Duration::from_secs(30);

/// Why there is no answer from the guest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("the connection to the agent in the guest")]
    Io(#[from] std::io::Error),
    #[error("the agent in the guest sent bytes that are not its protocol")]
    Protocol(#[from] DecodeError),
    #[error("the agent in the guest broke its protocol: {0}")]
    Broken(&'static str),
    #[error("the agent in the guest speaks version {0} of the protocol, not {VERSION}")]
    Version(u16),
    #[error("the session with the agent in the guest has ended")]
    Ended,
    #[error("the agent in the guest refused")]
    Refused(#[source] Refusal),
    #[error("the agent in the guest did not answer within {} s", .0.as_secs())]
    Silent(Duration),
}

/// What the guest sends on a channel.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A frame's body.
    Body(Body),
    /// The session has ended under the channel.
    Lost,
}

struct Route {
    queue: mpsc::UnboundedSender<Incoming>,
    /// What the guest may still send on stdout and stderr.
    window: [u64; 2],
}

struct Shared {
    routes: Mutex<HashMap<u32, Route>>,
    writer: mpsc::Sender<Frame>,
    next_channel: AtomicU32,
    closed: CancellationToken,
}

/// A session; cheap to clone. It ends when the stream does, or when the last clone and channel are gone.
#[derive(Clone)]
pub(crate) struct Session {
    shared: Arc<Shared>,
    _end: Arc<tokio_util::sync::DropGuard>,
}

/// One request under way. Dropping it tells the guest that nobody wants it any more.
pub(crate) struct Channel {
    id: u32,
    session: Session,
    incoming: mpsc::UnboundedReceiver<Incoming>,
    over: bool,
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
        let shared = Arc::new(Shared {
            routes: Mutex::default(),
            writer,
            next_channel: AtomicU32::new(1),
            closed: closed.clone(),
        });
        let mut decoder = Decoder::default();
        decoder.feed(rest);
        let reader = Arc::clone(&shared);
        tokio::spawn(async move {
            let ended = tokio::select! {
                () = reader.closed.cancelled() => Ok(()),
                ended = read_frames(read, decoder, &reader) => ended,
            };
            if let Err(error) = ended {
                tracing::info!(error = &error as &dyn std::error::Error, "session with the guest ended");
            }
            reader.end();
        });
        let ends = closed.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = ends.cancelled() => {}
                _ = write_frames(write, queue) => ends.cancel(),
            }
        });
        Self { shared, _end: Arc::new(closed.drop_guard()) }
    }

    /// Resolves when the session has ended.
    pub(crate) async fn closed(&self) {
        self.shared.closed.cancelled().await;
    }

    /// Begins a request on a new channel.
    pub(crate) async fn request(&self, request: Request) -> Result<Channel, SessionError> {
        let id = self.shared.next_channel.fetch_add(1, Ordering::Relaxed);
        let (queue, incoming) = mpsc::unbounded_channel();
        let route = Route { queue, window: [u64::from(INITIAL_WINDOW); 2] };
        self.shared.lock().insert(id, route);
        let channel = Channel { id, session: self.clone(), incoming, over: false };
        if self.shared.closed.is_cancelled() {
            return Err(SessionError::Ended);
        }
        channel.send(Body::Open(Box::new(request))).await?;
        Ok(channel)
    }

    /// A request that is answered once.
    async fn call(&self, request: Request) -> Result<Reply, SessionError> {
        let mut channel = self.request(request).await?;
        timeout(CALL_BOUND, channel.accepted()).await.map_err(|_| SessionError::Silent(CALL_BOUND))?
    }

    /// Gives the guest its own facts; it answers with what only it knows.
    pub(crate) async fn configure(&self, config: GuestConfig) -> Result<GuestFacts, SessionError> {
        match self.call(Request::Configure(config)).await? {
            Reply::Ready(facts) => Ok(facts),
            _ => Err(SessionError::Broken("another answer than ready to configure")),
        }
    }

    /// Asks the guest to end in order.
    pub(crate) async fn shutdown(&self) -> Result<(), SessionError> {
        self.call(Request::Shutdown).await.map(drop)
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u32, Route>> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        self.closed.cancel();
        for (_, route) in self.lock().drain() {
            let _ = route.queue.send(Incoming::Lost);
        }
    }

    /// Hands a frame to its channel, if the channel may have it.
    fn deliver(&self, frame: Frame) -> Result<(), SessionError> {
        let mut routes = self.lock();
        // A frame may cross our close of its channel: nobody wants it any more.
        let Some(route) = routes.get_mut(&frame.channel) else { return Ok(()) };
        let last = matches!(frame.body, Body::Exit(_) | Body::Refuse(_));
        match &frame.body {
            Body::Data(stream @ (Stream::Stdout | Stream::Stderr), data) => {
                let window = &mut route.window[usize::from(*stream == Stream::Stderr)];
                *window = window
                    .checked_sub(data.len() as u64)
                    .ok_or(SessionError::Broken("more data than the window allows"))?;
            }
            Body::Data(Stream::Stdin, _) | Body::Open(_) | Body::Control(_) | Body::Close => {
                return Err(SessionError::Broken("a frame that only the host sends"));
            }
            Body::Accept(_) | Body::Refuse(_) | Body::Eof(_) | Body::Credit(..) | Body::Exit(_) => {}
        }
        let _ = route.queue.send(Incoming::Body(frame.body));
        if last {
            routes.remove(&frame.channel);
        }
        Ok(())
    }

    /// A consumer gives the guest room for more.
    fn widen(&self, channel: u32, stream: Stream, bytes: u32) {
        if let Some(route) = self.lock().get_mut(&channel) {
            let window = &mut route.window[usize::from(stream == Stream::Stderr)];
            *window = window.saturating_add(u64::from(bytes));
        }
    }
}

impl Channel {
    /// The next thing from the guest.
    pub(crate) async fn next(&mut self) -> Incoming {
        let incoming = self.incoming.recv().await.unwrap_or(Incoming::Lost);
        self.over |= matches!(incoming, Incoming::Lost | Incoming::Body(Body::Exit(_) | Body::Refuse(_)));
        incoming
    }

    /// Sends something to the guest; waits while the stream is congested.
    pub(crate) async fn send(&self, body: Body) -> Result<(), SessionError> {
        if let Body::Credit(stream, bytes) = &body {
            self.session.shared.widen(self.id, *stream, *bytes);
        }
        let frame = Frame { channel: self.id, body };
        self.session.shared.writer.send(frame).await.map_err(|_| SessionError::Ended)
    }

    /// Waits for the guest to take or refuse the request.
    pub(crate) async fn accepted(&mut self) -> Result<Reply, SessionError> {
        match self.next().await {
            Incoming::Body(Body::Accept(reply)) => Ok(*reply),
            Incoming::Body(Body::Refuse(refusal)) => Err(SessionError::Refused(refusal)),
            Incoming::Body(_) => Err(SessionError::Broken("something else before its answer")),
            Incoming::Lost => Err(SessionError::Ended),
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.session.shared.lock().remove(&self.id);
        if self.over || self.session.shared.closed.is_cancelled() {
            return;
        }
        let frame = Frame { channel: self.id, body: Body::Close };
        if let Err(mpsc::error::TrySendError::Full(frame)) = self.session.shared.writer.try_send(frame) {
            // The stream is congested; the word must still get through, or the command would live on.
            let writer = self.session.shared.writer.clone();
            tokio::spawn(async move { writer.send(frame).await });
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

async fn write_frames(mut write: OwnedWriteHalf, mut queue: mpsc::Receiver<Frame>) -> Result<(), SessionError> {
    let mut buffer = BytesMut::new();
    while let Some(frame) = queue.recv().await {
        frame.encode(&mut buffer)?;
        // What else is waiting goes with it, up to a comfortable size.
        while buffer.len() < 128 * 1024 {
            let Ok(frame) = queue.try_recv() else { break };
            frame.encode(&mut buffer)?;
        }
        write.write_all(&buffer).await?;
        buffer.clear();
    }
    Ok(())
}
