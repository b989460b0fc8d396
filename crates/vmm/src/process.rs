//! A running VMM, held by a pidfd: watching for its exit and killing it, whoever started it.
//!
//! One task watches the process; when it is our child that task also reaps it, so that dropping a [`Vmm`] leaves no zombie
//! while the runtime lives. Dropping never ends the process: VMs outlive the daemon.

use crate::config;
use crate::pidfd::PidFd;
use crate::record::VmmRecord;
use rustix::process::Pid;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};
use tokio::sync::watch;

/// A VMM process that runs or has run. Clones name the same one.
#[derive(Debug, Clone)]
pub struct Vmm {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    record: VmmRecord,
    pidfd: PidFd,
    exit: watch::Receiver<Option<Exit>>,
}

/// How a VMM process ended. What the *guest* did is on its console: see [`crate::console`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It is gone; only its parent could have learned how.
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "it exited with status {code}"),
            Self::Signal(signal) => write!(f, "signal {signal} ended it"),
            Self::Unknown => f.write_str("it is gone"),
        }
    }
}

/// A process that cannot be watched or killed.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("cannot watch VMM process {pid}")]
    Watch { pid: i32, source: io::Error },
    #[error("cannot kill VMM process {pid}")]
    Kill { pid: i32, source: io::Error },
    /// A process that does not die of SIGKILL hangs in the kernel.
    #[error("VMM process {pid} is still there {} ms after it was killed", bound.as_millis())]
    Lingers { pid: i32, bound: Duration },
}

impl Vmm {
    /// Takes up a VMM that an earlier daemon launched. None when that process is gone: the host has booted since, no
    /// process has that id, or one that started at another time has it.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the process is there but cannot be watched.
    pub fn adopt(record: &VmmRecord) -> Result<Option<Self>, ProcessError> {
        let watch = |source| ProcessError::Watch { pid: record.pid, source };
        let Some(pid) = Pid::from_raw(record.pid).filter(|_| record.pid > 0) else { return Ok(None) };
        let Some(pidfd) = PidFd::open(pid).map_err(watch)? else { return Ok(None) };
        // Only now, with the process held, does `/proc/PID` tell of this process and no other.
        if !record.is_current() {
            return Ok(None);
        }
        Self::watch(record.clone(), pidfd).map(Some)
    }

    /// Watches a process whose pidfd is at hand.
    pub(crate) fn watch(record: VmmRecord, pidfd: PidFd) -> Result<Self, ProcessError> {
        let exit = pidfd.exit().map_err(|source| ProcessError::Watch { pid: record.pid, source })?;
        let (told, ended) = watch::channel(None);
        tokio::spawn(async move {
            let _ = told.send(Some(exit.await));
        });
        Ok(Self { inner: Arc::new(Inner { record, pidfd, exit: ended }) })
    }

    /// Who it is.
    pub fn record(&self) -> &VmmRecord {
        &self.inner.record
    }

    /// The socket on which the agent is reached.
    pub fn agent_socket(&self) -> PathBuf {
        config::agent_socket(&self.inner.record.runtime_dir)
    }

    /// Waits until the process has ended. Any number of callers may; each may give up at any time.
    pub async fn exited(&self) -> Exit {
        let mut exit = self.inner.exit.clone();
        exit.wait_for(Option::is_some).await.ok().and_then(|exit| *exit).unwrap_or(Exit::Unknown)
    }

    /// Whether it runs at this moment.
    pub fn is_alive(&self) -> bool {
        self.inner.pidfd.is_alive()
    }

    /// Kills it. What the guest had not written to its disks is lost. Does not wait; killing what is gone is no error.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&self) -> Result<(), ProcessError> {
        self.inner.pidfd.kill().map_err(|source| ProcessError::Kill { pid: self.inner.record.pid, source })
    }

    /// Kills it and waits until the process, its memory and its files are let go, at most `bound`.
    ///
    /// # Errors
    /// When the system refuses, or the process lingers.
    pub async fn kill_and_wait(&self, bound: Duration) -> Result<Exit, ProcessError> {
        self.kill()?;
        tokio::time::timeout(bound, self.exited())
            .await
            .map_err(|_| ProcessError::Lingers { pid: self.inner.record.pid, bound })
    }
}
