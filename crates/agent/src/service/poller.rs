//! What the service waits for.
//!
//! Owns: the epoll descriptor and the names of what is registered with it. Everything is edge-triggered: an event says that
//! something changed, its receiver remembers that until it meets "would block". So nothing that is not wanted now can keep
//! the loop awake, be it a pipe without credit or a port without a host.

use rustix::event::epoll;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::time::Timespec;
use std::time::Instant;

/// Who an event is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    /// The kernel's announcements of devices.
    Uevents,
    /// The vsock listener.
    Listener,
    /// A session's stream.
    Link(u32),
    /// Something of a task.
    Task(u32, Part),
}

/// What of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Part {
    /// Its stdin can take more.
    Stdin,
    /// Its stdout or terminal has something.
    Stdout,
    /// Its stderr has something.
    Stderr,
    /// The way to its exec has news.
    Start,
    /// It ended.
    End,
}

/// What changed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event {
    /// For whom.
    pub(super) token: Token,
    /// The other end is gone, for now or for good.
    pub(super) hangup: bool,
}

/// The set of what is waited for.
pub(super) struct Poller {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

/// Most events taken at once.
const BATCH: usize = 64;

impl Token {
    fn to_bits(self) -> u64 {
        let (kind, id, part) = match self {
            Self::Uevents => (1, 0, 0),
            Self::Listener => (2, 0, 0),
            Self::Link(id) => (3, id, 0),
            Self::Task(id, part) => (4, id, part as u8),
        };
        u64::from(id) | u64::from(part) << 32 | kind << 40
    }

    fn from_bits(bits: u64) -> Self {
        let [a, b, c, d, part, kind, ..] = bits.to_le_bytes();
        let id = u32::from_le_bytes([a, b, c, d]);
        let part = match part {
            0 => Part::Stdin,
            1 => Part::Stdout,
            2 => Part::Stderr,
            3 => Part::Start,
            _ => Part::End,
        };
        match kind {
            1 => Self::Uevents,
            2 => Self::Listener,
            3 => Self::Link(id),
            _ => Self::Task(id, part),
        }
    }
}

impl Poller {
    /// Nothing to wait for yet.
    ///
    /// # Errors
    /// When the kernel has no descriptor left.
    pub(super) fn new() -> rustix::io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, events: Vec::with_capacity(BATCH) })
    }

    /// Waits for `fd` too, in both directions, until it is closed.
    ///
    /// # Errors
    /// When the kernel cannot watch it.
    pub(super) fn add(&self, fd: impl AsFd, token: Token) -> rustix::io::Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(token.to_bits()), flags)
    }

    /// Waits until something changes or `deadline` has passed.
    pub(super) fn wait(&mut self, deadline: Option<Instant>) -> Vec<Event> {
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        self.events.clear();
        let spare = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, spare, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            // Only a programming error makes epoll fail; waiting again would fail again, without end.
            Err(_) => std::process::abort(),
        }
        let hangup = epoll::EventFlags::HUP | epoll::EventFlags::ERR | epoll::EventFlags::RDHUP;
        self.events
            .drain(..)
            .map(|event| {
                let (flags, data) = (event.flags, event.data);
                Event { token: Token::from_bits(data.u64()), hangup: flags.intersects(hangup) }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_round_trip() {
        let parts = [Part::Stdin, Part::Stdout, Part::Stderr, Part::Start, Part::End];
        let tasks = parts.map(|part| Token::Task(u32::MAX - 1, part));
        let others = [Token::Uevents, Token::Listener, Token::Link(u32::MAX)];
        for token in tasks.into_iter().chain(others) {
            assert_eq!(Token::from_bits(token.to_bits()), token);
        }
    }
}
