//! Waiting for a file to be written to: inotify(7), so that following a quiet console costs nothing.

#![allow(unsafe_code)]

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use std::{io, os::fd::OwnedFd, path::Path};
use tokio::io::{Interest, unix::AsyncFd};

/// Tells when a file has been written to.
#[derive(Debug)]
pub struct Changes(AsyncFd<OwnedFd>);

impl Changes {
    /// Of the file at `path`, from now on.
    ///
    /// # Errors
    /// When there is no such file, or the user watches as many as the host allows.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn of(path: &Path) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        inotify::add_watch(&inotify, path, WatchFlags::MODIFY)?;
        // SAFETY: an `OwnedFd` owns one open descriptor, the same one all its life, until it is dropped.
        Ok(Self(unsafe { AsyncFd::register_with_interest(inotify, Interest::READABLE) }?))
    }

    /// Resolves when something has been written since the last time.
    ///
    /// # Errors
    /// As read(2) on an inotify descriptor.
    pub async fn wait(&self) -> io::Result<()> {
        let mut events = [0; 4096];
        let read = |inotify: &OwnedFd| Ok(rustix::io::read(inotify, &mut events).map(drop)?);
        self.0.async_io(Interest::READABLE, read).await
    }
}
