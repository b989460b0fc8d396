//! The command's stdout and stderr on their way to ours.
//!
//! A thread writes each, started with its first bytes, and tells when bytes have been taken: only then may the command send
//! more, so a reader of ours that stops also stops the command.

use super::ExecError;
use banger_model::{api::exec::ExecEvent, wire::Stream};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::{AsFd, BorrowedFd},
    io::{Errno, write},
};
use std::{io, thread};
use tokio::sync::mpsc;

/// What a writing thread has to tell.
#[derive(Debug)]
pub(super) enum Ack {
    /// That many bytes of the stream have been taken.
    Written(Stream, u32),
    /// No more can be written.
    Failed(io::Error),
    /// All that was queued has been written, and nothing more can come.
    Finished,
}

struct Piece {
    bytes: Bytes,
    /// What the command sent, before it took this form.
    origin: Option<(Stream, u32)>,
}

/// A descriptor and, once something was to be written, the thread that does it.
struct Lane {
    target: BorrowedFd<'static>,
    queue: Option<mpsc::UnboundedSender<Piece>>,
}

/// Where the command's output goes.
pub(super) struct Outputs {
    form: Form,
    acks: mpsc::UnboundedReceiver<Ack>,
    /// Cloned into each thread.
    acked: mpsc::UnboundedSender<Ack>,
}

enum Form {
    /// As it comes, stdout and stderr apart from each other.
    Raw { stdout: Lane, stderr: Lane },
    /// As [`ExecEvent`]s, one a line. One lane, because lines must not get mixed up.
    Json { stdout: Lane },
}

impl Outputs {
    /// Output as it comes.
    pub(super) fn raw(stdout: BorrowedFd<'static>, stderr: BorrowedFd<'static>) -> Self {
        Self::new(Form::Raw { stdout: Lane::new(stdout), stderr: Lane::new(stderr) })
    }

    /// Output as events.
    pub(super) fn json(stdout: BorrowedFd<'static>) -> Self {
        Self::new(Form::Json { stdout: Lane::new(stdout) })
    }

    fn new(form: Form) -> Self {
        let (acked, acks) = mpsc::unbounded_channel();
        Self { form, acks, acked }
    }

    /// Queues bytes of the command's. How many may be queued is for the credit to bound.
    pub(super) fn put(&mut self, stream: Stream, bytes: Bytes) -> Result<(), ExecError> {
        let origin = Some((stream, u32::try_from(bytes.len()).unwrap_or(u32::MAX)));
        let (lane, bytes) = match (&mut self.form, stream) {
            (Form::Raw { stderr, .. }, Stream::Stderr) => (stderr, bytes),
            (Form::Raw { stdout, .. }, _) => (stdout, bytes),
            (Form::Json { stdout }, Stream::Stderr) => {
                (stdout, line(&ExecEvent::Stderr(BASE64_STANDARD.encode(bytes))))
            }
            (Form::Json { stdout }, _) => (stdout, line(&ExecEvent::Stdout(BASE64_STANDARD.encode(bytes)))),
        };
        lane.put(Piece { bytes, origin }, &self.acked)
    }

    /// Queues an event; it is only of interest to programs.
    pub(super) fn event(&mut self, event: &ExecEvent) -> Result<(), ExecError> {
        match &mut self.form {
            Form::Raw { .. } => Ok(()),
            Form::Json { stdout } => stdout.put(Piece { bytes: line(event), origin: None }, &self.acked),
        }
    }

    /// What a thread tells next. Can be cancelled without loss.
    pub(super) async fn next(&mut self) -> Ack {
        match self.acks.recv().await {
            Some(ack) => ack,
            // We hold a sender, so there always will be one more.
            None => std::future::pending().await,
        }
    }

    /// Waits until everything is written. Can be cancelled.
    pub(super) async fn finish(&mut self) -> Result<(), ExecError> {
        let mut open = match &mut self.form {
            Form::Raw { stdout, stderr } => u8::from(stdout.close()) + u8::from(stderr.close()),
            Form::Json { stdout } => u8::from(stdout.close()),
        };
        while open > 0 {
            match self.next().await {
                Ack::Written(..) => {}
                Ack::Failed(error) => return Err(failure(error)),
                Ack::Finished => open -= 1,
            }
        }
        Ok(())
    }
}

/// Why output came to an end.
pub(super) fn failure(error: io::Error) -> ExecError {
    match error.kind() {
        io::ErrorKind::BrokenPipe => ExecError::OutputClosed,
        _ => ExecError::Output(error),
    }
}

fn line(event: &ExecEvent) -> Bytes {
    // Every event of ours is JSON; there is no other way for it to fail.
    let mut line = serde_json::to_vec(event).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

impl Lane {
    fn new(target: BorrowedFd<'static>) -> Self {
        Self { target, queue: None }
    }

    fn put(&mut self, piece: Piece, acked: &mpsc::UnboundedSender<Ack>) -> Result<(), ExecError> {
        if self.queue.is_none() {
            let (sender, queue) = mpsc::unbounded_channel();
            let (target, acks) = (self.target, acked.clone());
            let thread = thread::Builder::new().name("output".into());
            thread.spawn(move || drop(acks.send(pump(target, queue, &acks)))).map_err(ExecError::Output)?;
            self.queue = Some(sender);
        }
        if let Some(queue) = &self.queue {
            // The thread has ended only after it told why.
            let _ = queue.send(piece);
        }
        Ok(())
    }

    /// Nothing more will come. Returns whether a thread is at work.
    fn close(&mut self) -> bool {
        self.queue.take().is_some()
    }
}

fn pump(
    target: BorrowedFd<'static>,
    mut queue: mpsc::UnboundedReceiver<Piece>,
    acks: &mpsc::UnboundedSender<Ack>,
) -> Ack {
    while let Some(Piece { bytes, origin }) = queue.blocking_recv() {
        if let Err(error) = write_all(target, &bytes) {
            return Ack::Failed(error);
        }
        if let Some((stream, length)) = origin {
            // The session may have gone: then nobody cares.
            let _ = acks.send(Ack::Written(stream, length));
        }
    }
    Ack::Finished
}

/// As the standard library's, but for descriptors that others have made non-blocking.
fn write_all(target: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match write(&target, bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let mut fds = [PollFd::new(&target, PollFlags::OUT)];
                match poll(&mut fds, None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
