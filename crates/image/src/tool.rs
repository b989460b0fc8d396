//! Running a tool of the host, like `apt-get` or `mmdebstrap`.
//!
//! Owns: the tool's process group from start to reaped end. Every run can be cancelled, is bounded in time where the caller
//! says so, and leaves no process behind, whichever way it ends. Must not: know any tool.

use crate::cancel::Cancel;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How many of the last lines on stderr an error tells.
const TAIL_LINES: usize = 12;
/// A longer line is cut.
const MAX_LINE: usize = 400;
/// The most that [`capture`] keeps of stdout, in bytes.
const MAX_CAPTURE: u64 = 4 << 20;
/// How often a waiter looks at its token.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// What a tool gets to clean up after itself before it is killed.
const GRACE: Duration = Duration::from_secs(30);

/// Why a tool's run brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It is not installed.
    #[error("{tool} is not installed")]
    Missing {
        /// Its name.
        tool: String,
    },
    /// It cannot be run.
    #[error("cannot run {tool}")]
    Run {
        /// Its name.
        tool: String,
        /// Why.
        source: io::Error,
    },
    /// It ended badly.
    #[error("{tool} failed ({status}){}", said(stderr))]
    Failed {
        /// Its name.
        tool: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines it wrote on stderr.
        stderr: Vec<String>,
    },
    /// It took too long.
    #[error("{tool} did not finish within {} s{}", limit.as_secs(), said(stderr))]
    TimedOut {
        /// Its name.
        tool: String,
        /// The time it had.
        limit: Duration,
        /// The last lines it wrote on stderr.
        stderr: Vec<String>,
    },
    /// Nobody waits for it any more.
    #[error("cancelled")]
    Cancelled,
}

fn said(stderr: &[String]) -> String {
    if stderr.is_empty() { String::new() } else { format!(": {}", stderr.join("; ")) }
}

/// A tool that runs. Dropping it ends it and everything it started.
#[derive(Debug)]
pub(crate) struct Tool {
    name: String,
    child: Child,
    group: Pid,
    pidfd: OwnedFd,
    stderr: Option<JoinHandle<Vec<String>>>,
    reaped: bool,
}

impl Tool {
    /// Starts `command` with no stdin, in a process group of its own; `on_line` gets its lines on stderr, on another thread.
    pub(crate) fn start(
        mut command: Command,
        on_line: impl FnMut(&str) + Send + 'static,
    ) -> Result<(Self, ChildStdout), ToolError> {
        let name = command.get_program().to_string_lossy().into_owned();
        let fail = |source| ToolError::Run { tool: name.clone(), source };
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ToolError::Missing { tool: name.clone() },
            _ => fail(error),
        })?;
        let group = Pid::from_child(&child);
        let mut taken = || {
            let pidfd = pidfd_open(group, PidfdFlags::empty())?;
            let streams = child.stdout.take().zip(child.stderr.take());
            streams.map(|(stdout, stderr)| (pidfd, stdout, stderr)).ok_or_else(|| io::ErrorKind::BrokenPipe.into())
        };
        let (pidfd, stdout, stderr) = match taken() {
            Ok(taken) => taken,
            Err(source) => {
                let _ = kill_process_group(group, Signal::KILL);
                let _ = child.wait();
                return Err(fail(source));
            }
        };
        let stderr = std::thread::spawn(move || tail(stderr, on_line));
        Ok((Self { name, child, group, pidfd, stderr: Some(stderr), reaped: false }, stdout))
    }

    /// Waits for the end. `tick` is called about 20 times a second.
    pub(crate) fn wait(&mut self, limit: Duration, cancel: &Cancel, mut tick: impl FnMut()) -> Result<(), ToolError> {
        let deadline = Instant::now() + limit;
        while !self.exited_within(&TICK) {
            if cancel.is_cancelled() {
                self.end();
                return Err(ToolError::Cancelled);
            }
            if Instant::now() >= deadline {
                let stderr = self.end();
                return Err(ToolError::TimedOut { tool: self.name.clone(), limit, stderr });
            }
            tick();
        }
        let (status, stderr) = self.reap();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(ToolError::Failed { tool: self.name.clone(), status, stderr }),
            Err(source) => Err(ToolError::Run { tool: self.name.clone(), source }),
        }
    }

    fn exited_within(&self, time: &Timespec) -> bool {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        matches!(poll(&mut fds, Some(time)), Ok(n) if n > 0)
    }

    /// Asks the group to end, so that the tool can clean up, then makes it. Returns the last lines on stderr.
    fn end(&mut self) -> Vec<String> {
        let _ = kill_process_group(self.group, Signal::TERM);
        let deadline = Instant::now() + GRACE;
        while !self.exited_within(&TICK) && Instant::now() < deadline {}
        self.reap().1
    }

    /// Ends what is left of the group and reaps its leader. Until then its pid, and so the group's number, cannot be anybody
    /// else's.
    fn reap(&mut self) -> (io::Result<ExitStatus>, Vec<String>) {
        let _ = kill_process_group(self.group, Signal::KILL);
        let status = self.child.wait();
        self.reaped = true;
        let stderr = self.stderr.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        (status, stderr)
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        if !self.reaped {
            self.end();
        }
    }
}

/// Runs `command` to its end and returns what it wrote on stdout.
pub(crate) fn capture(command: Command, limit: Duration, cancel: &Cancel) -> Result<String, ToolError> {
    run(command, limit, cancel, || {})
}

/// As [`capture`]; `tick` is called about 20 times a second.
pub(crate) fn run(command: Command, limit: Duration, cancel: &Cancel, tick: impl FnMut()) -> Result<String, ToolError> {
    let (mut tool, stdout) = Tool::start(command, |_| {})?;
    let reader = std::thread::spawn(move || {
        let mut stdout = stdout.take(MAX_CAPTURE);
        let mut bytes = Vec::new();
        stdout.read_to_end(&mut bytes).map(|_| bytes)
    });
    tool.wait(limit, cancel, tick)?;
    let bytes = reader.join().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()));
    let bytes = bytes.map_err(|source| ToolError::Run { tool: tool.name.clone(), source })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Hands on the lines of `stderr` and keeps the last.
fn tail(stderr: impl Read, mut on_line: impl FnMut(&str)) -> Vec<String> {
    let mut stderr = BufReader::new(stderr);
    let mut last = VecDeque::with_capacity(TAIL_LINES);
    let mut line = Vec::new();
    // Longer lines come in pieces.
    while matches!(stderr.by_ref().take(MAX_LINE as u64).read_until(b'\n', &mut line), Ok(n) if n > 0) {
        let text = String::from_utf8_lossy(&line).trim().to_owned();
        line.clear();
        if text.is_empty() {
            continue;
        }
        on_line(&text);
        if last.len() == TAIL_LINES {
            last.pop_front();
        }
        last.push_back(text);
    }
    last.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_and_failure_are_told() {
        let cancel = Cancel::new();
        assert_eq!(capture(sh("echo yes; echo no >&2"), LONG, &cancel).unwrap(), "yes\n");
        let error = capture(sh("echo first >&2; echo second >&2; exit 3"), LONG, &cancel).unwrap_err();
        assert_eq!(error.to_string(), "sh failed (exit status: 3): first; second");
        let error = capture(Command::new("no-such-tool"), LONG, &cancel).unwrap_err();
        assert_eq!(error.to_string(), "no-such-tool is not installed");
    }

    #[test]
    fn a_run_that_takes_too_long_is_ended_with_what_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", pid.display());
        let begun = Instant::now();
        // Long enough for a busy host to get as far as the sleeper.
        let error = capture(sh(&script), Duration::from_secs(3), &Cancel::new()).unwrap_err();
        assert!(matches!(error, ToolError::TimedOut { .. }), "{error}");
        assert!(begun.elapsed() < GRACE);
        let sleeper = std::fs::read_to_string(pid).unwrap();
        // It has been killed, but is reaped by a process of its own time.
        let gone = || match std::fs::read_to_string(format!("/proc/{}/stat", sleeper.trim())) {
            Ok(stat) => stat.contains(") Z "),
            Err(_) => true,
        };
        while !gone() {
            assert!(begun.elapsed() < GRACE, "the sleeper lives on");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_cancelled_run_ends_at_once() {
        let cancel = Cancel::new();
        cancel.cancel();
        assert!(matches!(capture(sh("sleep 1000"), LONG, &cancel), Err(ToolError::Cancelled)));
    }

    #[test]
    fn a_left_behind_child_does_not_hold_up_the_end() {
        let begun = Instant::now();
        assert_eq!(capture(sh("sleep 1000 & echo done"), LONG, &Cancel::new()).unwrap(), "done\n");
        assert!(begun.elapsed() < GRACE);
    }
}
