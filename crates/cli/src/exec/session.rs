//! One command's session: frames on one side, our descriptors and signals on the other.
//!
//! A single task. Reading and writing the socket go on independently of each other, so neither side can wait for the other
//! for ever. What is queued is bounded by credit: ours to the command for its output, the command's to us for its input.

use super::{
    ExecError,
    input::Input,
    output::{Ack, Outputs, failure},
    signals::{Event, Signals},
};
use banger_model::{
    api::{EXEC_CHANNEL, exec::ExecEvent},
    wire::{
        Body, Decoder, Frame, Stream,
        frame::INITIAL_WINDOW,
        guest::{Control, ExitStatus, Reply, Signal},
    },
};
use bytes::BytesMut;
use std::io;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    select,
    sync::mpsc,
};

/// As much as is read from the socket at a time, in bytes.
const READ: usize = 64 * 1024;
/// Frames are written together up to about this size, in bytes.
const WRITE: usize = 128 * 1024;
const SIGINT: u8 = 2;

/// Our side of the session.
pub(super) struct Ends {
    pub(super) input: Input,
    pub(super) outputs: Outputs,
    pub(super) signals: Signals,
}

/// Carries the command through to its exit status. `early` is what had been read of the stream before.
///
/// # Errors
/// When the command was refused or lost, when our side is closed, or when the user leaves. The stream is closed then, and
/// the command with it.
pub(super) async fn run<S>(stream: S, early: &[u8], ends: Ends) -> Result<ExitStatus, ExecError>
where
    S: AsyncRead + AsyncWrite,
{
    let Ends { mut input, outputs, mut signals } = ends;
    let (mut read, write) = tokio::io::split(stream);
    let (queue, queued) = mpsc::unbounded_channel();
    let mut writing = std::pin::pin!(write_frames(write, queued));
    let mut session = Session { outputs, queue, owed: Owed::default(), unanswered: false };
    let (mut decoder, mut buffer) = (Decoder::default(), vec![0; READ]);
    let (mut can_write, mut can_read_input, mut can_be_signalled) = (true, true, true);
    decoder.feed(early);
    loop {
        while let Some(frame) = decoder.next_frame().map_err(ExecError::Frames)? {
            if let Some(status) = session.take(frame, &input)? {
                drop(input);
                return session.finish(status, &mut signals).await;
            }
        }
        select! {
            read = read.read(&mut buffer) => match read {
                Ok(0) => return Err(ExecError::Lost(None)),
                Ok(n) => decoder.feed(&buffer[..n]),
                Err(error) => return Err(ExecError::Lost(Some(error))),
            },
            // A socket that takes nothing more may still have the exit status for us.
            () = &mut writing, if can_write => can_write = false,
            chunk = input.next(), if can_read_input => match chunk {
                Some(chunk) => session.send(Body::Data(Stream::Stdin, chunk.map_err(ExecError::Input)?)),
                None => {
                    can_read_input = false;
                    session.send(Body::Eof(Stream::Stdin));
                }
            },
            ack = session.outputs.next() => session.acknowledge(ack)?,
            event = signals.recv(), if can_be_signalled => match event {
                Some(event) => session.signal(event)?,
                None => can_be_signalled = false,
            },
        }
    }
}

struct Session {
    outputs: Outputs,
    queue: mpsc::UnboundedSender<Body>,
    owed: Owed,
    /// A signal was forwarded, and nothing has come from the command since.
    unanswered: bool,
}

impl Session {
    fn send(&self, body: Body) {
        // A writer that has ended has seen the socket fail; the reading side tells how.
        let _ = self.queue.send(body);
    }

    /// Does what a frame says. Returns the exit status when it has come.
    fn take(&mut self, frame: Frame, input: &Input) -> Result<Option<ExitStatus>, ExecError> {
        if frame.channel != EXEC_CHANNEL {
            return Err(ExecError::Peer("a channel that is not ours"));
        }
        self.unanswered = false;
        match frame.body {
            Body::Accept(reply) => match *reply {
                Reply::Started { pid } => self.outputs.event(&ExecEvent::Started(pid))?,
                Reply::Ready(_) | Reply::Done => return Err(ExecError::Peer("an answer to another question")),
            },
            Body::Refuse(refusal) => return Err(ExecError::Refused(refusal)),
            Body::Data(stream @ (Stream::Stdout | Stream::Stderr), bytes) => {
                self.owed.arrived(stream, bytes.len())?;
                self.outputs.put(stream, bytes)?;
            }
            Body::Credit(Stream::Stdin, bytes) => input.grant(bytes),
            // The end of a stream says no more than the exit that follows.
            Body::Eof(_) => {}
            Body::Exit(status) => return Ok(Some(status)),
            Body::Data(Stream::Stdin, _) | Body::Credit(..) | Body::Open(_) | Body::Control(_) | Body::Close => {
                return Err(ExecError::Peer("a frame that only a client sends"));
            }
        }
        Ok(None)
    }

    fn acknowledge(&mut self, ack: Ack) -> Result<(), ExecError> {
        match ack {
            Ack::Written(stream, bytes) => {
                if let Some(credit) = self.owed.written(stream, bytes) {
                    self.send(Body::Credit(stream, credit));
                }
                Ok(())
            }
            Ack::Failed(error) => Err(failure(error)),
            // Threads end by themselves only when told to.
            Ack::Finished => Ok(()),
        }
    }

    fn signal(&mut self, event: Event) -> Result<(), ExecError> {
        match event {
            Event::Leave(signal) => return Err(ExecError::Left(signal)),
            // The first was not heard, or is not being obeyed.
            Event::Forward(SIGINT) if self.unanswered => return Err(ExecError::Left(SIGINT)),
            Event::Forward(signal) => {
                self.unanswered = true;
                self.send(Body::Control(Control::Signal(Signal(signal))));
            }
            Event::Resize(size) => self.send(Body::Control(Control::Resize(size))),
        }
        Ok(())
    }

    /// The command has ended: what it wrote still goes out, unless the user does not want to wait for that.
    async fn finish(mut self, status: ExitStatus, signals: &mut Signals) -> Result<ExitStatus, ExecError> {
        self.outputs.event(&ExecEvent::Exit(status))?;
        let mut can_be_signalled = true;
        let written = self.outputs.finish();
        let mut written = std::pin::pin!(written);
        loop {
            select! {
                written = &mut written => return written.map(|()| status),
                event = signals.recv(), if can_be_signalled => match event {
                    Some(Event::Leave(signal) | Event::Forward(signal)) => return Err(ExecError::Left(signal)),
                    Some(Event::Resize(_)) => {}
                    None => can_be_signalled = false,
                },
            }
        }
    }
}

/// How many bytes of stdout and stderr the command may still send, and how many we took without telling it yet.
struct Owed {
    window: [u32; 2],
    taken: [u32; 2],
}

impl Default for Owed {
    fn default() -> Self {
        Self { window: [INITIAL_WINDOW; 2], taken: [0; 2] }
    }
}

/// Taken bytes that are worth a frame. Small against the window, so that the command never waits for it.
const WORTH_A_CREDIT: u32 = INITIAL_WINDOW / 4;

impl Owed {
    fn index(stream: Stream) -> usize {
        usize::from(stream == Stream::Stderr)
    }

    fn arrived(&mut self, stream: Stream, bytes: usize) -> Result<(), ExecError> {
        let window = &mut self.window[Self::index(stream)];
        let left = u32::try_from(bytes).ok().and_then(|bytes| window.checked_sub(bytes));
        *window = left.ok_or(ExecError::Peer("more output than it may send"))?;
        Ok(())
    }

    fn written(&mut self, stream: Stream, bytes: u32) -> Option<u32> {
        let index = Self::index(stream);
        self.taken[index] = self.taken[index].saturating_add(bytes);
        if self.taken[index] < WORTH_A_CREDIT {
            return None;
        }
        let credit = std::mem::take(&mut self.taken[index]);
        self.window[index] = self.window[index].saturating_add(credit);
        Some(credit)
    }
}

async fn write_frames(mut write: impl AsyncWrite + Unpin, mut queue: mpsc::UnboundedReceiver<Body>) {
    let mut buffer = BytesMut::new();
    while let Some(body) = queue.recv().await {
        let mut next = Some(body);
        while let Some(body) = next {
            // Each of ours is far smaller than a frame may be.
            let _ = Frame { channel: EXEC_CHANNEL, body }.encode(&mut buffer);
            next = if buffer.len() < WRITE { queue.try_recv().ok() } else { None };
        }
        let written: io::Result<()> = write.write_all(&buffer).await;
        if written.is_err() {
            return;
        }
        buffer.clear();
    }
}

#[cfg(test)]
mod tests;
