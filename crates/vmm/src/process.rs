//! A running process of ours, held by a pidfd: watching for its exit and killing it, whoever started it.
//!
//! One task watches the process; when it is our child that task also reaps it, so that dropping a [`Process`] leaves no
//! zombie while the runtime lives. Dropping never ends the process: VMs outlive the daemon.

use crate::config;
use crate::pidfd::PidFd;
use crate::record::{CompanionRecord, Record, VmmRecord};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};
use tokio::sync::watch;

/// A process that runs or has run, with what is known of it. Clones name the same one.
#[derive(Debug)]
pub struct Process<R> {
    inner: Arc<Inner<R>>,
}

/// A VMM process.
pub type Vmm = Process<VmmRecord>;
/// A process that serves a VM beside its VMM.
pub type Companion = Process<CompanionRecord>;

#[derive(Debug)]
struct Inner<R> {
    record: R,
    pidfd: PidFd,
    exit: watch::Receiver<Option<Exit>>,
}

impl<R> Clone for Process<R> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

/// How a process ended. What a *guest* did is on its console: see [`crate::console`].
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

/// A process that cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("cannot watch process {pid}")]
pub struct WatchError {
    pid: i32,
    source: io::Error,
}

/// A process that does not end.
#[derive(Debug, thiserror::Error)]
pub enum KillError {
    /// It is not ours to kill.
    #[error("cannot kill process {pid}")]
    Refused {
        /// Its id.
        pid: i32,
        /// Why.
        source: io::Error,
    },
    /// A process that does not die of SIGKILL hangs in the kernel.
    #[error("process {pid} is still there {} ms after it was killed", bound.as_millis())]
    Lingers {
        /// Its id.
        pid: i32,
        /// How long it was waited for.
        bound: Duration,
    },
}

impl<R: Record> Process<R> {
    /// Takes up a process that an earlier daemon started. None when that process is gone: the host has booted since, no
    /// process has that id, or one that started at another time has it.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the process is there but cannot be watched.
    pub fn adopt(record: &R) -> Result<Option<Self>, WatchError> {
        let identity = record.identity();
        let Some(pid) = identity.pid() else { return Ok(None) };
        let opened = PidFd::open(pid).map_err(|source| WatchError { pid: identity.pid, source })?;
        let Some(pidfd) = opened else { return Ok(None) };
        // Only now, with the process held, does `/proc/PID` tell of this process and no other.
        if !identity.is_current() {
            return Ok(None);
        }
        Self::watch(record.clone(), pidfd).map(Some)
    }

    /// Watches a process whose pidfd is at hand.
    pub(crate) fn watch(record: R, pidfd: PidFd) -> Result<Self, WatchError> {
        let exit = pidfd.exit().map_err(|source| WatchError { pid: record.identity().pid, source })?;
        let (told, ended) = watch::channel(None);
        tokio::spawn(async move {
            let _ = told.send(Some(exit.await));
        });
        Ok(Self { inner: Arc::new(Inner { record, pidfd, exit: ended }) })
    }

    /// Who it is.
    pub fn record(&self) -> &R {
        &self.inner.record
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.inner.record.identity().pid.unsigned_abs()
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

    /// Kills it. What a guest had not written to its disks is lost. Does not wait; killing what is gone is no error.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&self) -> Result<(), KillError> {
        let refused = |source| KillError::Refused { pid: self.inner.record.identity().pid, source };
        self.inner.pidfd.kill().map_err(refused)
    }

    /// Kills it and waits until the process, its memory and its files are let go, at most `bound`.
    ///
    /// # Errors
    /// When the system refuses, or the process lingers.
    pub async fn kill_and_wait(&self, bound: Duration) -> Result<Exit, KillError> {
        self.kill()?;
        tokio::time::timeout(bound, self.exited())
            .await
            .map_err(|_| KillError::Lingers { pid: self.inner.record.identity().pid, bound })
    }
}

impl Vmm {
    /// The socket on which the agent is reached.
    pub fn agent_socket(&self) -> PathBuf {
        config::agent_socket(&self.record().runtime_dir)
    }
}
