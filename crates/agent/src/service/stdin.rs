//! The stream towards a command.
//!
//! Owns: the bytes that the host sent and the command has not taken yet (at most a window), and the count of those that it
//! took and the host was not told of. Must not care whether the command still listens: what nobody reads is taken as read.

use banger_model::wire::frame::INITIAL_WINDOW;
use bytes::{Buf as _, BytesMut};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::termios::{LocalModes, SpecialCodeIndex, tcgetattr};

/// Taken bytes that are worth a frame. Small against the window, so that the host never waits for it.
const WORTH_A_CREDIT: u32 = INITIAL_WINDOW / 4;

/// The host sent more than it had been granted.
#[derive(Debug, thiserror::Error)]
#[error("{excess} bytes of stdin came beyond the window")]
pub(super) struct Overrun {
    excess: usize,
}

/// What end of file means to the descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// It is closed.
    Close,
    /// Its line discipline is told, as by a user's Ctrl-D.
    Key,
}

/// The way into a command's stdin.
#[derive(Debug)]
pub(super) struct Stdin {
    fd: Option<OwnedFd>,
    ending: Ending,
    queue: BytesMut,
    writable: bool,
    mid_line: bool,
    eof: bool,
    granted: u32,
    taken: u32,
}

impl Stdin {
    /// A stdin that writes to `fd`, which must not block; without one, everything is taken and dropped.
    pub(super) fn new(fd: Option<OwnedFd>, ending: Ending) -> Self {
        let (queue, granted) = (BytesMut::new(), INITIAL_WINDOW);
        Self { fd, ending, queue, writable: true, mid_line: false, eof: false, granted, taken: 0 }
    }

    /// The descriptor, while there is one.
    pub(super) fn fd(&self) -> Option<&OwnedFd> {
        self.fd.as_ref()
    }

    /// Takes in bytes from the host.
    ///
    /// # Errors
    /// [`Overrun`] when the host had no credit for them.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Overrun> {
        let left = self.granted as usize;
        let length = u32::try_from(bytes.len()).ok().filter(|n| *n <= self.granted);
        let Some(length) = length else { return Err(Overrun { excess: bytes.len() - left }) };
        self.granted -= length;
        if self.eof {
            // Bytes behind the end of file belong to no stream; they still count.
            self.taken += length;
            return Ok(());
        }
        self.queue.extend_from_slice(bytes);
        self.pump();
        Ok(())
    }

    /// The host has nothing more to send.
    pub(super) fn end(&mut self) {
        self.eof = true;
        self.pump();
    }

    /// The descriptor may take bytes again.
    pub(super) fn ready(&mut self) {
        self.writable = true;
        self.pump();
    }

    /// Nobody reads any more.
    pub(super) fn close(&mut self) {
        self.fd = None;
        self.pump();
    }

    /// Bytes of fresh credit to announce, once they are worth it.
    pub(super) fn credit(&mut self) -> Option<u32> {
        if self.taken < WORTH_A_CREDIT {
            return None;
        }
        self.granted += self.taken;
        Some(std::mem::take(&mut self.taken))
    }

    fn pump(&mut self) {
        while !self.queue.is_empty() && self.writable {
            let written = match &self.fd {
                None => Ok(self.queue.len()),
                Some(fd) => rustix::io::write(fd, &self.queue),
            };
            match written {
                Ok(n) => {
                    self.mid_line = self.queue.get(n.wrapping_sub(1)).is_some_and(|last| *last != b'\n');
                    self.took(n);
                }
                Err(Errno::AGAIN) => self.writable = false,
                Err(Errno::INTR) => {}
                // Its reader is gone.
                Err(_) => self.fd = None,
            }
        }
        if self.eof && self.queue.is_empty() {
            self.finish();
        }
    }

    fn took(&mut self, n: usize) {
        self.queue.advance(n);
        // The queue never holds more than a window, which fits.
        self.taken += u32::try_from(n).unwrap_or(u32::MAX);
        if self.queue.is_empty() {
            // A command that sits idle for days holds no buffer.
            self.queue = BytesMut::new();
        }
    }

    fn finish(&mut self) {
        match (self.ending, &self.fd) {
            (Ending::Close, _) => self.fd = None,
            (Ending::Key, Some(fd)) => {
                if let Ok(modes) = tcgetattr(fd)
                    && modes.local_modes.contains(LocalModes::ICANON)
                {
                    let key = modes.special_codes[SpecialCodeIndex::VEOF];
                    // Behind an unfinished line the first one only hands that line over.
                    let keys = [key, key];
                    let _ = rustix::io::write(fd, if self.mid_line { &keys } else { &keys[..1] });
                }
                self.ending = Ending::Close;
                // The terminal stays open for output; only this end of it goes.
                self.fd = None;
            }
            (Ending::Key, None) => {}
        }
    }
}
