//! One request under way on a session.

use super::{
    Violation,
    inbox::Inbox,
    session::{Session, SessionError},
};
use banger_model::wire::{Body, Frame, Stream, frame::MAX_DATA, guest::Reply};
use bytes::Bytes;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};
use tokio::sync::{Notify, mpsc};

/// What the guest sends on a channel.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A frame's body.
    Body(Body),
    /// The session has ended under the channel.
    Lost,
}

/// A channel's post, between the session's reader and whoever reads the channel.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    inbox: Mutex<(Inbox, bool)>,
    news: Notify,
}

impl Mailbox {
    pub(super) fn deliver(&self, body: Body) -> Result<(), Violation> {
        self.lock().0.push(body)?;
        self.news.notify_one();
        Ok(())
    }

    /// Nothing more will come.
    pub(super) fn lose(&self) {
        self.lock().1 = true;
        self.news.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, (Inbox, bool)> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request under way. Dropping it tells the guest that nobody wants it any more, unless it is over.
pub(crate) struct Channel {
    id: u32,
    session: Session,
    mailbox: Arc<Mailbox>,
    over: AtomicBool,
}

impl Channel {
    pub(super) fn new(id: u32, session: Session, mailbox: Arc<Mailbox>) -> Self {
        Self { id, session, mailbox, over: AtomicBool::new(false) }
    }

    /// The next thing from the guest. For one reader at a time; it may give up at any moment without losing anything.
    pub(crate) async fn next(&self) -> Incoming {
        loop {
            let news = self.mailbox.news.notified();
            if let Some(incoming) = self.try_next() {
                return incoming;
            }
            news.await;
        }
    }

    /// The next thing from the guest, if it is here.
    pub(crate) fn try_next(&self) -> Option<Incoming> {
        let next = {
            let mut mailbox = self.mailbox.lock();
            let lost = mailbox.1;
            mailbox.0.pop().map(Incoming::Body).or(lost.then_some(Incoming::Lost))
        };
        if matches!(next, Some(Incoming::Lost | Incoming::Body(Body::Exit(_) | Body::Refuse(_)))) {
            self.over.store(true, Ordering::Relaxed);
        }
        next
    }

    /// Sends something to the guest; waits while the stream is congested. Data and credit must fit their windows.
    pub(crate) async fn send(&self, body: Body) -> Result<(), SessionError> {
        match &body {
            Body::Credit(stream, bytes) => self.mailbox.lock().0.widen(*stream, *bytes)?,
            Body::Data(Stream::Stdin, data) => self.mailbox.lock().0.spend(data.len())?,
            _ => {}
        }
        let bytes = Frame { channel: self.id, body }.to_bytes()?;
        self.session.writer().send(bytes).await.map_err(|_| SessionError::Ended)
    }

    /// Sends as much of `data` as the guest has room for, and takes that off it. More room is announced by a credit.
    pub(crate) async fn feed(&self, data: &mut Bytes) -> Result<(), SessionError> {
        loop {
            let room = usize::try_from(self.mailbox.lock().0.room()).unwrap_or(MAX_DATA);
            let piece = data.split_to(room.min(MAX_DATA).min(data.len()));
            if piece.is_empty() {
                return Ok(());
            }
            self.send(Body::Data(Stream::Stdin, piece)).await?;
        }
    }

    /// Waits for the guest to take or refuse the request.
    pub(super) async fn accepted(&self) -> Result<Reply, SessionError> {
        match self.next().await {
            Incoming::Body(Body::Accept(reply)) => Ok(*reply),
            Incoming::Body(Body::Refuse(refusal)) => Err(SessionError::Refused(refusal)),
            Incoming::Body(_) => Err(Violation("something else before its answer").into()),
            Incoming::Lost => Err(SessionError::Ended),
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        let open = self.session.forget(self.id);
        if self.over.load(Ordering::Relaxed) || !open {
            return;
        }
        let Ok(close) = (Frame { channel: self.id, body: Body::Close }).to_bytes() else { return };
        if let Err(mpsc::error::TrySendError::Full(close)) = self.session.writer().try_send(close)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            // The stream is congested; the word must still get through, or the command would live on.
            let session = self.session.clone();
            runtime.spawn(async move { session.writer().send(close).await });
        }
    }
}
