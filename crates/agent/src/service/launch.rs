//! From a request to a process that carries it out.
//!
//! Owns: the descriptors between the service and a new process, the fork, and what the child reports before its exec. The
//! child does everything that touches the guest's files, so a mount that hangs stops that child only. A report of nothing
//! means that the exec happened.

use super::stdin::{Ending, Stdin};
use super::output::Output;
use crate::command::child::{Stdio, become_command, become_helper};
use crate::configure::{self, Context};
use crate::{copy, sys};
use banger_model::wire::Stream;
use banger_model::wire::guest::{CopyIn, Exec, GuestConfig, Refusal, Reply, TtySize};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl, open};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{InputModes, OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};
use serde::{Deserialize, Serialize};

/// What a process is started for.
#[derive(Debug)]
pub(super) enum Job {
    /// A command of the user's.
    Exec(Exec),
    /// Taking in files.
    CopyIn(CopyIn),
    /// Giving out files.
    CopyOut(String),
    /// Putting the VM's facts into force.
    Configure(GuestConfig, Context),
}

/// What the child says before, or instead of, its exec.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// It cannot be done.
    Refused(Refusal),
    /// It is done; there is no exec.
    Done(Reply),
}

/// Longest report that is read, in bytes.
pub(super) const LONGEST_REPORT: usize = 60 * 1024;

/// A new process and the service's ends of what leads to it.
#[derive(Debug)]
pub(super) struct Launched {
    /// Its process id, also of its session and group.
    pub(super) pid: Pid,
    /// Readable once it has ended.
    pub(super) pidfd: OwnedFd,
    /// Where its [`Report`] comes; at end of file without one, it runs.
    pub(super) report: OwnedFd,
    /// Towards it.
    pub(super) stdin: Stdin,
    /// From it.
    pub(super) outputs: Vec<Output>,
    /// Its terminal's other side.
    pub(super) terminal: Option<OwnedFd>,
    /// What to wait for besides `pidfd` and `report`.
    pub(super) watch: Vec<(OwnedFd, Part)>,
}

use super::poller::Part;

/// Starts a process for `job`.
///
/// # Errors
/// When the kernel has no descriptors, terminals, memory or processes left.
pub(super) fn launch(job: &Job) -> std::io::Result<Launched> {
    let wires = match job {
        Job::Exec(Exec { detach: true, .. }) | Job::Configure(..) => Wires::none()?,
        Job::Exec(Exec { tty: Some(size), .. }) => Wires::terminal(*size)?,
        _ => Wires::pipes()?,
    };
    let (report, reporter) = pipe_with(PipeFlags::CLOEXEC)?;
    let Wires { stdio, stdin, outputs, terminal } = wires;
    let pid = match sys::fork()? {
        sys::Forked::Parent(pid) => pid,
        sys::Forked::Child => {
            let said = carry_out(job, stdio);
            let bytes = serde_json::to_vec(&said).unwrap_or_default();
            let _ = rustix::io::write(&reporter, &bytes);
            sys::exit_now(0)
        }
    };
    drop((stdio, reporter));
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    never_block(&report)?;
    Ok(Launched { pid, pidfd, report, stdin, outputs, terminal })
}
