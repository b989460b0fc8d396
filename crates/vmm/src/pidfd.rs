//! A descriptor that names one process for as long as it is open, so that no signal reaches another that got the same id.

#![allow(unsafe_code)]

use crate::process::Exit;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A process, held.
#[derive(Debug)]
pub(crate) struct PidFd(OwnedFd);

impl PidFd {
    /// Of the process that has this id now; none when there is no such process.
    pub(crate) fn open(pid: Pid) -> io::Result<Option<Self>> {
        match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Ok(fd) => Ok(Some(Self(fd))),
            // No process, or the id of a thread that leads none.
            Err(Errno::SRCH | Errno::INVAL) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether the process runs at this moment.
    pub(crate) fn is_alive(&self) -> bool {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        matches!(poll(&mut fds, Some(&Timespec::default())), Ok(0) | Err(_))
    }

    /// Sends SIGKILL. A process that is gone is no error.
    pub(crate) fn kill(&self) -> io::Result<()> {
        match pidfd_send_signal(&self.0, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// A future that ends with the process. If that is our child, it also reaps it. Needs a tokio runtime at once.
    pub(crate) fn exit(&self) -> io::Result<impl Future<Output = Exit> + Send + use<>> {
        let fd = self.0.try_clone()?;
        // SAFETY: an `OwnedFd` owns one open descriptor, the same one all its life, until it is dropped.
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?;
        Ok(async move {
            // A pidfd becomes readable when its process ends. An error here means that the runtime shuts down.
            match fd.readable().await {
                Ok(_) => reap(fd.get_ref()),
                Err(_) => Exit::Unknown,
            }
        })
    }
}

/// How an ended process ended. Only its parent is told, and only once.
fn reap(pidfd: &OwnedFd) -> Exit {
    match waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
        Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Exit::Code(code),
            (_, Some(signal)) => Exit::Signal(signal),
            _ => Exit::Unknown,
        },
        Ok(None) | Err(_) => Exit::Unknown,
    }
}
