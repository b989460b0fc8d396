//! A byte stream to the host, and the session on it.
//!
//! Owns: the descriptor, what is still to be sent, and where in the protocol the stream is: waiting for a greeting, or
//! exchanging frames. Must not know what frames mean. Memory: one read, one unfinished frame, and what is to be sent, which
//! its users keep below [`Link::has_room`] (answers to the host's own frames may exceed it; while they do, nothing is read).

use banger_model::wire::frame::MAX_PAYLOAD;
use banger_model::wire::hello::{GREETING_LEN, Greeting, Hunt, VERSION};
use banger_model::wire::{Body, DecodeError, Decoder, Frame};
use bytes::{Buf as _, BytesMut};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::collections::BTreeMap;

/// Bytes waiting to be sent above which no more output is taken from commands.
const HIGH_WATER: usize = 256 * 1024;
/// Most bytes taken from the stream at once.
pub(super) const READ_SIZE: usize = 64 * 1024;

/// How a stream behaves when its other end goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A virtio-serial port: the host may come back at any time.
    Port(String),
    /// A connection: its end is final.
    Connection,
}

#[derive(Debug)]
enum Phase {
    /// Before a greeting.
    Hunting(Hunt),
    /// Greeted.
    Talking(Decoder),
}

/// What came.
#[derive(Debug)]
pub(super) enum Incoming {
    /// A frame.
    Frame(Frame),
    /// The host began anew: every channel of before is void.
    Reset,
    /// Nothing more for now.
    Nothing,
    /// The stream is of no further use.
    Gone,
}

/// A stream with its session.
#[derive(Debug)]
pub(super) struct Link {
    fd: OwnedFd,
    kind: Kind,
    phase: Phase,
    out: BytesMut,
    readable: bool,
    writable: bool,
    lost: bool,
    /// The task behind each channel.
    pub(super) channels: BTreeMap<u32, u32>,
}

impl Link {
    /// A session on `fd`, which must not block.
    pub(super) fn new(fd: OwnedFd, kind: Kind) -> Self {
        let phase = Phase::Hunting(Hunt::for_host());
        let (out, channels) = (BytesMut::new(), BTreeMap::new());
        Self { fd, kind, phase, out, readable: true, writable: true, lost: false, channels }
    }

    /// What kind of stream it is.
    pub(super) fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Something changed about the descriptor.
    pub(super) fn ready(&mut self, hangup: bool) {
        self.readable = true;
        self.writable = true;
        self.lost |= hangup;
    }

    /// Whether commands' output may be added.
    pub(super) fn has_room(&self) -> bool {
        self.out.len() < HIGH_WATER
    }

    /// Queues a frame. Sent by [`Link::flush`].
    pub(super) fn send(&mut self, channel: u32, body: Body) {
        if self.is_talking() {
            // What we send is small or at most one read of output, so it always fits.
            let _ = Frame { channel, body }.encode(&mut self.out);
        }
    }

    /// Sends what is queued, as far as the stream takes it. Says whether anything went.
    pub(super) fn flush(&mut self) -> bool {
        let before = self.out.len();
        while !self.out.is_empty() && self.writable {
            match rustix::io::write(&self.fd, &self.out) {
                Ok(n) => self.out.advance(n),
                Err(Errno::AGAIN) => self.writable = false,
                Err(Errno::INTR) => {}
                Err(_) => {
                    self.out.clear();
                    self.lost = true;
                }
            }
        }
        if self.out.is_empty() && self.out.capacity() > HIGH_WATER {
            self.out = BytesMut::new();
        }
        self.out.len() < before
    }

    /// The next thing that came.
    pub(super) fn next(&mut self, buffer: &mut [u8; READ_SIZE]) -> Incoming {
        loop {
            if let Phase::Talking(decoder) = &mut self.phase {
                match decoder.next_frame() {
                    Ok(Some(frame)) => return Incoming::Frame(frame),
                    Ok(None) => {}
                    Err(error) => return self.misread(&error),
                }
            }
            if std::mem::take(&mut self.lost) && self.kind != Kind::Connection && self.is_talking() {
                return self.reset();
            }
            if !self.readable || !self.has_room() {
                return Incoming::Nothing;
            }
            let came = match rustix::io::read(&self.fd, buffer.as_mut_slice()) {
                Ok(0) => return self.ended(),
                Ok(n) => &buffer[..n],
                Err(Errno::AGAIN) => {
                    self.readable = false;
                    return Incoming::Nothing;
                }
                Err(Errno::INTR) => continue,
                Err(_) => return Incoming::Gone,
            };
            if let Some(incoming) = self.take(came) {
                return incoming;
            }
        }
    }

    fn take(&mut self, came: &[u8]) -> Option<Incoming> {
        // A host that comes back while the last one's frame is unfinished: its greeting is a message of its own.
        let alone = (came.len() == GREETING_LEN).then(|| Hunt::for_host().feed(came)).flatten();
        if let Some((greeting, rest)) = alone {
            return Some(self.greet(greeting, rest));
        }
        match &mut self.phase {
            Phase::Talking(decoder) => {
                decoder.feed(came);
                None
            }
            Phase::Hunting(hunt) => {
                let (greeting, rest) = hunt.feed(came)?;
                Some(self.greet(greeting, rest))
            }
        }
    }

    fn greet(&mut self, mut greeting: Greeting, mut rest: Vec<u8>) -> Incoming {
        loop {
            self.out.clear();
            self.out.extend_from_slice(&Greeting { version: VERSION, ..greeting }.to_host());
            if greeting.version == VERSION {
                let mut decoder = Decoder::default();
                decoder.feed(&rest);
                self.phase = Phase::Talking(decoder);
                return Incoming::Reset;
            }
            // The host knows now what is spoken here; whether it goes on is up to it.
            let mut hunt = Hunt::for_host();
            match hunt.feed(&rest) {
                Some(next) => (greeting, rest) = next,
                None => {
                    self.phase = Phase::Hunting(hunt);
                    return Incoming::Reset;
                }
            }
        }
    }

    /// The bytes are no frame: the session is over, and what they are instead may be a greeting.
    fn misread(&mut self, error: &DecodeError) -> Incoming {
        let rest = match std::mem::replace(&mut self.phase, Phase::Hunting(Hunt::for_host())) {
            Phase::Talking(decoder) => decoder.into_rest(),
            Phase::Hunting(_) => BytesMut::new(),
        };
        self.out.clear();
        if let Some(greeted) = self.take(&rest) {
            return greeted;
        }
        crate::console::say(format_args!("a session ended: {error}"));
        match self.kind {
            Kind::Connection => Incoming::Gone,
            Kind::Port(_) => Incoming::Reset,
        }
    }

    /// End of file: a port is without a host for now, a connection is over.
    fn ended(&mut self) -> Incoming {
        match self.kind {
            Kind::Connection => Incoming::Gone,
            Kind::Port(_) => {
                self.readable = false;
                self.reset()
            }
        }
    }

    /// Ends the session.
    pub(super) fn reset(&mut self) -> Incoming {
        self.out.clear();
        let talked = self.is_talking();
        self.phase = Phase::Hunting(Hunt::for_host());
        match self.kind {
            Kind::Connection => Incoming::Gone,
            Kind::Port(_) if talked => Incoming::Reset,
            Kind::Port(_) => Incoming::Nothing,
        }
    }

    fn is_talking(&self) -> bool {
        matches!(self.phase, Phase::Talking(_))
    }
}

const _: () = assert!(GREETING_LEN < READ_SIZE && MAX_PAYLOAD < HIGH_WATER);
