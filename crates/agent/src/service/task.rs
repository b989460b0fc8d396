//! One thing that the host asked for and a process does.
//!
//! Owns: the life of the process from its fork to its last byte of output, and what the host is told of it in which order:
//! accepted or refused; then data and credit; then the exit. Must not know sessions: it says what is to be sent, and
//! whoever holds it sends.
//!
//! A command has ended when its process has. Processes that it leaves behind live on, as with `docker exec`, and do not keep
//! the host waiting although they may hold the pipes: what they write within [`GRACE`] still counts, then the pipes are closed.

use super::launch::{Job, LONGEST_REPORT, Launched, Report, resize};
use super::output::{Output, Taken};
use super::poller::Part;
use super::stdin::{Overrun, Stdin};
use crate::{processes, sys};
use banger_model::wire::frame::MAX_DATA;
use banger_model::wire::guest::{Control, ExitStatus, Refusal, Reply};
use banger_model::wire::{Body, Stream};
use bytes::Bytes;
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use std::time::{Duration, Instant};

/// How long output is waited for after its command's exit while others hold its pipes.
const GRACE: Duration = Duration::from_millis(250);
/// How long the word that a command runs is kept back, and not even listened to, when nobody waits for it. What comes by then
/// goes with it, in one message instead of up to four: each costs the host and the guest more than all else about a short
/// command.
const HOLD: Duration = Duration::from_millis(25);

/// The channel that hears of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address {
    /// The session.
    pub(super) link: u32,
    /// The channel in it.
    pub(super) channel: u32,
}

/// How a task is to be reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Command { detach: bool },
    Copy,
    Call,
}

#[derive(Debug)]
enum Stage {
    /// What the child says before its work is still to come.
    Starting(Vec<u8>),
    /// It works.
    Running,
    /// It said all there is to say; only its process must still end.
    Over,
}

/// A process and its streams.
#[derive(Debug)]
pub(super) struct Task {
    /// Who hears of it; none once the channel is over.
    pub(super) address: Option<Address>,
    kind: Kind,
    stage: Stage,
    pid: Pid,
    pidfd: OwnedFd,
    report: OwnedFd,
    stdin: Stdin,
    outputs: Vec<Output>,
    terminal: Option<OwnedFd>,
    report_ready: bool,
    end_ready: bool,
    exit: Option<(ExitStatus, Instant)>,
    /// Until when the word that it runs is kept back.
    held: Option<Instant>,
}

/// What an advance came to.
#[derive(Debug, Default)]
pub(super) struct Advance {
    /// To be sent, in order.
    pub(super) bodies: Vec<Body>,
    /// The channel is over with these.
    pub(super) over: bool,
    /// A call was answered so.
    pub(super) answered: Option<Reply>,
    /// The process is gone and so may the task be.
    pub(super) ended: bool,
}

impl Advance {
    /// Whether anything happened.
    pub(super) fn moved(&self) -> bool {
        !self.bodies.is_empty() || self.over || self.ended
    }
}

impl Task {
    /// The task of a process that was launched for `job`.
    pub(super) fn new(job: &Job, launched: Launched, address: Option<Address>) -> Self {
        let kind = match job {
            Job::Exec(exec) => Kind::Command { detach: exec.detach },
            Job::CopyIn(_) | Job::CopyOut(_) => Kind::Copy,
            Job::Configure(..) | Job::PowerOff => Kind::Call,
        };
        let Launched { pid, pidfd, report, stdin, outputs, terminal } = launched;
        let stage = Stage::Starting(Vec::new());
        let held = (!job.is_awaited()).then(|| Instant::now() + HOLD);
        let (report_ready, end_ready, exit) = (held.is_none(), false, None);
        Self { address, kind, stage, pid, pidfd, report, stdin, outputs, terminal, report_ready, end_ready, exit, held }
    }

    /// Something changed.
    pub(super) fn ready(&mut self, part: Part) {
        match part {
            Part::Stdin => self.stdin.ready(),
            // Whoever says something has begun.
            Part::Stdout => {
                self.report_ready = true;
                self.output(Stream::Stdout, Output::ready);
            }
            Part::Stderr => {
                self.report_ready = true;
                self.output(Stream::Stderr, Output::ready);
            }
            Part::Start => self.report_ready = true,
            Part::End => (self.report_ready, self.end_ready) = (true, true),
        }
    }

    /// Bytes for its stdin.
    ///
    /// # Errors
    /// [`Overrun`]: more than was granted.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), Overrun> {
        self.stdin.push(bytes)
    }

    /// Its stdin is over.
    pub(super) fn end_stdin(&mut self) {
        self.stdin.end();
    }

    /// The host has room for more of its output.
    pub(super) fn grant(&mut self, stream: Stream, bytes: u32) {
        self.output(stream, |output| output.grant(bytes));
    }

    /// A change that the host wants.
    pub(super) fn control(&self, control: &Control) {
        match control {
            Control::Resize(size) => {
                if let Some(terminal) = &self.terminal {
                    let _ = resize(terminal, *size);
                }
            }
            Control::Signal(signal) => {
                if self.exit.is_none() {
                    // The group may be empty by now; a signal that does not exist reaches nobody.
                    let _ = sys::kill(-self.pid.as_raw_pid(), i32::from(signal.0));
                }
            }
        }
    }

    /// Nobody wants it any more. A command that was to go on without its host does.
    pub(super) fn abandon(&mut self) {
        if self.kind == Kind::Call || matches!(self.kind, Kind::Command { detach: true }) {
            self.address = None;
            return;
        }
        self.kill();
        self.stdin.close();
        for output in &mut self.outputs {
            output.close();
        }
    }

    /// Ends its processes.
    pub(super) fn kill(&self) {
        processes::kill_session(self.pid);
    }

    /// When it must be advanced again though nothing has changed.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.held.into_iter().chain(self.cut_off_at()).min()
    }

    /// When what others still hold of an ended command's outputs is waited for no longer.
    fn cut_off_at(&self) -> Option<Instant> {
        let (_, since) = self.exit?;
        self.outputs.iter().any(Output::is_waiting).then(|| since + GRACE)
    }

    /// Goes on as far as it can. `room` says whether output may be sent; `buffer` is for it.
    pub(super) fn advance(&mut self, room: bool, buffer: &mut [u8; MAX_DATA]) -> Advance {
        let mut advance = Advance::default();
        if let Stage::Starting(_) = self.stage {
            self.start(&mut advance);
        }
        if self.end_ready && self.exit.is_none() {
            self.notice_exit();
        }
        if let Stage::Running = self.stage {
            self.run(room, buffer, &mut advance);
        }
        if self.address.is_none() {
            advance.bodies.clear();
        }
        if advance.over {
            // Nothing is kept back any more: a moment that has passed would be waited for again and again.
            (self.stage, self.held) = (Stage::Over, None);
        }
        advance.ended = self.exit.is_some() && matches!(self.stage, Stage::Over);
        advance
    }

    fn start(&mut self, advance: &mut Advance) {
        let Stage::Starting(said) = &mut self.stage else { return };
        let late = self.held.is_some_and(is_past);
        if !std::mem::take(&mut self.report_ready) && !late {
            return;
        }
        let mut buffer = [0; 4096];
        loop {
            match rustix::io::read(&self.report, &mut buffer) {
                Ok(0) => break,
                Ok(n) if said.len() + n <= LONGEST_REPORT => said.extend_from_slice(&buffer[..n]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.held = self.held.map(|_| Instant::now() + HOLD);
                    return;
                }
                Ok(_) | Err(_) => break,
            }
        }
        let said = std::mem::take(said);
        match serde_json::from_slice(&said) {
            Ok(Report::Refused(refusal)) => {
                advance.bodies.push(Body::Refuse(refusal));
                advance.over = true;
            }
            Ok(Report::Done(reply)) => {
                advance.bodies.push(Body::Accept(Box::new(reply.clone())));
                advance.answered = Some(reply);
                advance.over = true;
            }
            Err(_) => self.began(advance),
        }
    }

    fn began(&mut self, advance: &mut Advance) {
        self.stage = Stage::Running;
        match self.kind {
            Kind::Command { .. } if self.held.is_some() => {}
            Kind::Command { detach } => {
                advance.bodies.push(self.started());
                if detach {
                    advance.bodies.push(Body::Exit(ExitStatus::Code(0)));
                    advance.over = true;
                }
            }
            Kind::Copy => advance.bodies.push(Body::Accept(Box::new(Reply::Done))),
            // Its process died before it could answer.
            Kind::Call => {
                let what = "the agent's own work".to_owned();
                advance.bodies.push(Body::Refuse(Refusal::Failed { what, reason: "its process died".to_owned() }));
                advance.over = true;
            }
        }
    }

    fn started(&self) -> Body {
        Body::Accept(Box::new(Reply::Started { pid: self.pid.as_raw_pid().unsigned_abs() }))
    }

    fn run(&mut self, room: bool, buffer: &mut [u8; MAX_DATA], advance: &mut Advance) {
        if self.exit.is_none()
            && let Some(bytes) = self.stdin.credit()
        {
            advance.bodies.push(Body::Credit(Stream::Stdin, bytes));
        }
        let late = self.cut_off_at().is_some_and(is_past);
        for output in &mut self.outputs {
            if late {
                output.cut_off();
            }
            if !room {
                continue;
            }
            match output.take(buffer) {
                Taken::Bytes(n) => {
                    let bytes = Bytes::copy_from_slice(&buffer[..n]);
                    advance.bodies.push(Body::Data(output.stream(), bytes));
                }
                Taken::Over => advance.bodies.push(Body::Eof(output.stream())),
                Taken::Nothing => {}
            }
        }
        if let Some((status, _)) = self.exit
            && self.outputs.iter().all(Output::is_over)
        {
            advance.bodies.push(Body::Exit(status));
            advance.over = true;
        }
        if self.held.is_some_and(|until| is_past(until) || !advance.bodies.is_empty()) {
            self.held = None;
            advance.bodies.insert(0, self.started());
        }
    }

    /// Learns how the process ended. It stays a zombie until the task goes, so that its id cannot become another's.
    fn notice_exit(&mut self) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = match waitid(WaitId::PidFd(self.pidfd.as_fd()), options) {
            Ok(None) | Err(Errno::INTR) => return,
            Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
                (_, Some(signal)) => ExitStatus::Signal(u8::try_from(signal).unwrap_or(u8::MAX)),
                (code, None) => ExitStatus::Code(u8::try_from(code.unwrap_or(0) & 0xff).unwrap_or(u8::MAX)),
            },
            // Somebody else reaped it; how it ended is not to be known.
            Err(_) => ExitStatus::Signal(0),
        };
        self.exit = Some((status, Instant::now()));
        self.stdin.close();
        for output in &mut self.outputs {
            output.ready();
        }
    }

    fn output(&mut self, stream: Stream, act: impl FnOnce(&mut Output)) {
        if let Some(output) = self.outputs.iter_mut().find(|output| output.stream() == stream) {
            act(output);
        }
    }
}

fn is_past(moment: Instant) -> bool {
    moment <= Instant::now()
}

impl Drop for Task {
    fn drop(&mut self) {
        if self.exit.is_some() {
            let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        }
    }
}
