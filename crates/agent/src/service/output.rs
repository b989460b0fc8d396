//! A stream from a command.
//!
//! Owns: how much of it the host has room for, and when it is over. Must not buffer: bytes stay in the kernel's pipe until
//! they can go straight into a frame.

use banger_model::wire::Stream;
use banger_model::wire::frame::{INITIAL_WINDOW, MAX_DATA};
use rustix::fd::OwnedFd;
use rustix::io::Errno;

/// One stream from a command.
#[derive(Debug)]
pub(super) struct Output {
    stream: Stream,
    fd: Option<OwnedFd>,
    readable: bool,
    credit: u32,
    /// What may still be read once no more is waited for; processes that the command left behind may write for ever.
    remainder: Option<u64>,
    told: bool,
}

/// What reading brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// That many bytes at the start of the buffer.
    Bytes(usize),
    /// The stream is over. Said once.
    Over,
    /// Nothing now.
    Nothing,
}

impl Output {
    /// The stream that comes out of `fd`, which must not block.
    pub(super) fn new(stream: Stream, fd: OwnedFd) -> Self {
        let credit = INITIAL_WINDOW;
        Self { stream, fd: Some(fd), readable: true, credit, remainder: None, told: false }
    }

    /// Which stream it is.
    pub(super) fn stream(&self) -> Stream {
        self.stream
    }

    /// There may be something to read.
    pub(super) fn ready(&mut self) {
        self.readable = true;
    }

    /// The host has room for that many more bytes.
    pub(super) fn grant(&mut self, bytes: u32) {
        self.credit = self.credit.saturating_add(bytes);
    }

    /// The descriptor, while the stream is not over.
    pub(super) fn fd(&self) -> Option<&OwnedFd> {
        self.fd.as_ref()
    }

    /// What is there now is all that will be sent.
    pub(super) fn cut_off(&mut self) {
        if let (Some(fd), None) = (&self.fd, self.remainder) {
            self.readable = true;
            self.remainder = Some(rustix::io::ioctl_fionread(fd).unwrap_or(0));
        }
    }

    /// Whether only time, or whoever holds its other end, can bring its end.
    pub(super) fn is_waiting(&self) -> bool {
        self.fd.is_some() && self.remainder.is_none()
    }

    /// Nobody wants the rest.
    pub(super) fn close(&mut self) {
        self.fd = None;
        self.told = true;
    }

    /// Whether its end has been told.
    pub(super) fn is_over(&self) -> bool {
        self.told
    }

    /// Takes what is there and the host has room for, at most one frame's worth.
    pub(super) fn take(&mut self, buffer: &mut [u8; MAX_DATA]) -> Taken {
        while let Some(fd) = &self.fd {
            let room = usize::try_from(self.credit).unwrap_or(MAX_DATA).min(MAX_DATA);
            let wanted = match self.remainder {
                Some(0) => {
                    self.fd = None;
                    break;
                }
                Some(left) => room.min(usize::try_from(left).unwrap_or(MAX_DATA)),
                None => room,
            };
            if wanted == 0 || !self.readable {
                return Taken::Nothing;
            }
            match rustix::io::read(fd, &mut buffer[..wanted]) {
                Ok(0) => self.fd = None,
                Ok(n) => {
                    self.credit -= u32::try_from(n).unwrap_or(self.credit);
                    self.remainder = self.remainder.map(|left| left - n as u64);
                    return Taken::Bytes(n);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if self.remainder.is_none() => self.readable = false,
                // A terminal says EIO once no process has it open.
                Err(_) => self.fd = None,
            }
        }
        match std::mem::replace(&mut self.told, true) {
            false => Taken::Over,
            true => Taken::Nothing,
        }
    }
}
