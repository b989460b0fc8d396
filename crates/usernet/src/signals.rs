//! Being asked to end.

use rustix::fd::{AsFd, BorrowedFd};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io;
use std::os::unix::net::UnixStream;

/// Readable once one of the signals has come; it stays readable.
#[derive(Debug)]
pub(crate) struct Stop(UnixStream);

impl Stop {
    /// From now on the signals end nothing by themselves.
    pub(crate) fn listen() -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        for signal in [SIGTERM, SIGINT, SIGHUP] {
            signal_hook::low_level::pipe::register(signal, theirs.try_clone()?)?;
        }
        Ok(Self(ours))
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
