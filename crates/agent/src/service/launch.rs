//! From a request to a process that carries it out.
//!
//! Owns: the descriptors between the service and a new process, the fork, and what the child reports before its exec. The
//! child does everything that touches the guest's files, so a mount that hangs stops that child only. A report of nothing
//! means that the work has begun: the exec happened, or the copy goes on.

use super::output::Output;
use super::poller::{Part, Poller, Token};
use super::stdin::{Ending, Stdin};
use crate::command::child::{Blank, Stdio, become_worker, null};
use crate::configure::{self, Context};
use crate::{copy, ending, sys};
use banger_model::wire::Stream;
use banger_model::wire::guest::{CopyIn, Exec, GuestConfig, Refusal, Reply, TtySize};
use rustix::fd::OwnedFd;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{InputModes, OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};
use serde::{Deserialize, Serialize};
use std::io;

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
    /// Having the image's own init, or in its default the kernel, end the machine.
    PowerOff,
}

/// What the child says before, or instead of, its work.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// It cannot be done.
    Refused(Refusal),
    /// It is done; nothing else follows.
    Done(Reply),
}

/// Longest report that is read, in bytes: what a frame can carry.
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
}

impl Job {
    /// Whether somebody waits for the word that it has begun. Of a short command whose input is nothing, the end is soon
    /// enough: hearing of its exec would only interrupt it.
    pub(super) fn is_awaited(&self) -> bool {
        match self {
            Self::Exec(exec) => exec.detach || exec.tty.is_some() || !exec.no_stdin,
            Self::CopyIn(_) | Self::CopyOut(_) | Self::Configure(..) | Self::PowerOff => true,
        }
    }
}

impl Launched {
    /// Has `poller` wait for what the process reports, too.
    ///
    /// # Errors
    /// When the kernel cannot.
    pub(super) fn register_report(&self, id: u32, poller: &Poller) -> rustix::io::Result<()> {
        poller.add(&self.report, Token::Task(id, Part::Start))
    }

    /// Has `poller` wait for the process and its streams.
    ///
    /// # Errors
    /// When the kernel cannot.
    pub(super) fn register(&self, id: u32, poller: &Poller) -> rustix::io::Result<()> {
        poller.add(&self.pidfd, Token::Task(id, Part::End))?;
        if let Some(fd) = self.stdin.fd() {
            poller.add(fd, Token::Task(id, Part::Stdin))?;
        }
        for output in &self.outputs {
            let part = if output.stream() == Stream::Stderr { Part::Stderr } else { Part::Stdout };
            if let Some(fd) = output.fd() {
                poller.add(fd, Token::Task(id, part))?;
            }
        }
        Ok(())
    }
}

/// Starts a process for `job`.
///
/// # Errors
/// When the kernel has no descriptors, terminals, memory or processes left.
pub(super) fn launch(job: &Job) -> io::Result<Launched> {
    let wires = match job {
        Job::Exec(Exec { detach: true, .. }) | Job::Configure(..) | Job::PowerOff => Wires::none()?,
        Job::Exec(Exec { tty: Some(size), .. }) => Wires::terminal(*size)?,
        Job::Exec(Exec { no_stdin: true, .. }) => Wires::pipes(false)?,
        Job::Exec(_) | Job::CopyIn(_) | Job::CopyOut(_) => Wires::pipes(true)?,
    };
    double(wires, |stdio, reporter| carry_out(job, stdio, reporter))
}

/// Forks a process that does `work` with its ends of `wires`, and ends.
pub(super) fn double(wires: Wires, work: impl FnOnce(Stdio, OwnedFd)) -> io::Result<Launched> {
    let Wires { stdio, stdin, outputs, terminal } = wires;
    let (report, reporter) = pipe_with(PipeFlags::CLOEXEC)?;
    never_block(&report)?;
    let pid = match sys::fork()? {
        sys::Forked::Parent(pid) => pid,
        sys::Forked::Child => {
            work(stdio, reporter);
            sys::exit_now(0)
        }
    };
    drop((stdio, reporter));
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    Ok(Launched { pid, pidfd, report, stdin, outputs, terminal })
}

/// The child's whole life, up to its exec if there is one.
fn carry_out(job: &Job, stdio: Stdio, reporter: OwnedFd) {
    match job {
        Job::Exec(exec) => {
            let refusal = match Blank::settle(stdio) {
                Ok(blank) => blank.become_command(exec),
                Err(refusal) => refusal,
            };
            tell(&reporter, &Report::Refused(refusal));
        }
        Job::CopyIn(request) => work(stdio, reporter, || copy::In::prepare(request), copy::In::run),
        Job::CopyOut(path) => work(stdio, reporter, || copy::Out::prepare(path), copy::Out::run),
        Job::Configure(config, context) => {
            sys::reset_signals();
            tell(&reporter, &Report::Done(Reply::Ready(configure::apply(config, context))));
        }
        Job::PowerOff => {
            drop(reporter);
            ending::ask_init();
        }
    }
}

pub(super) fn tell(reporter: &OwnedFd, report: &Report) {
    let mut bytes = serde_json::to_vec(report).unwrap_or_default();
    if bytes.len() > LONGEST_REPORT {
        let refusal = Refusal::Failed { what: "the answer".to_owned(), reason: "it is too long".to_owned() };
        bytes = serde_json::to_vec(&Report::Refused(refusal)).unwrap_or_default();
    }
    let mut rest = bytes.as_slice();
    while let Ok(written @ 1..) = rustix::io::write(reporter, rest) {
        rest = &rest[written..];
    }
}

/// A copy: refused or begun, then done or failed, which is said on stderr.
fn work<T>(
    stdio: Stdio,
    reporter: OwnedFd,
    prepare: impl FnOnce() -> Result<T, Refusal>,
    run: impl FnOnce(T) -> Result<(), copy::CopyError>,
) {
    if become_worker(stdio, &reporter).is_err() {
        sys::exit_now(1);
    }
    match prepare() {
        Err(refusal) => tell(&reporter, &Report::Refused(refusal)),
        Ok(prepared) => {
            drop(reporter);
            if let Err(error) = run(prepared) {
                let _ = rustix::io::write(rustix::stdio::stderr(), format!("{error}\n").as_bytes());
                sys::exit_now(1);
            }
        }
    }
}

/// The child's streams and our ends of them.
#[derive(Debug)]
pub(super) struct Wires {
    stdio: Stdio,
    stdin: Stdin,
    outputs: Vec<Output>,
    terminal: Option<OwnedFd>,
}

impl Wires {
    fn none() -> io::Result<Self> {
        let null = null()?;
        let stdio = Stdio::Three([null.try_clone()?, null.try_clone()?, null]);
        Ok(Self { stdio, stdin: Stdin::new(None, Ending::Close), outputs: Vec::new(), terminal: None })
    }

    /// Without `input`, what is read is `/dev/null`.
    pub(super) fn pipes(input: bool) -> io::Result<Self> {
        let (stdin_out, stdin_in) = match input {
            true => pipe_with(PipeFlags::CLOEXEC).map(|(out, ours)| (out, Some(ours)))?,
            false => (null()?, None),
        };
        let (stdout_out, stdout_in) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stderr_out, stderr_in) = pipe_with(PipeFlags::CLOEXEC)?;
        for ours in stdin_in.iter().chain([&stdout_out, &stderr_out]) {
            never_block(ours)?;
        }
        Ok(Self {
            stdio: Stdio::Three([stdin_out, stdout_in, stderr_in]),
            stdin: Stdin::new(stdin_in, Ending::Close),
            outputs: vec![Output::new(Stream::Stdout, stdout_out), Output::new(Stream::Stderr, stderr_out)],
            terminal: None,
        })
    }

    fn terminal(size: TtySize) -> io::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags)?;
        unlockpt(&ours)?;
        let theirs = ioctl_tiocgptpeer(&ours, flags)?;
        let mut modes = tcgetattr(&theirs)?;
        // Erasing a character takes away all of its bytes.
        modes.input_modes |= InputModes::IUTF8;
        tcsetattr(&theirs, OptionalActions::Now, &modes)?;
        resize(&ours, size)?;
        never_block(&ours)?;
        Ok(Self {
            stdio: Stdio::Terminal(theirs),
            stdin: Stdin::new(Some(ours.try_clone()?), Ending::Key),
            outputs: vec![Output::new(Stream::Stdout, ours.try_clone()?)],
            terminal: Some(ours),
        })
    }
}

/// Gives a terminal another size; whoever is in its foreground is told by the kernel.
///
/// # Errors
/// When it is no terminal.
pub(super) fn resize(terminal: &OwnedFd, size: TtySize) -> rustix::io::Result<()> {
    tcsetwinsize(terminal, Winsize { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 })
}

pub(super) fn never_block(fd: &OwnedFd) -> rustix::io::Result<()> {
    fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)
}
