//! One scenario as a process of its own, ended with all that it runs in the foreground when it takes too long.

use crate::verdict::Outcome;
use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// How it went.
#[derive(Debug)]
pub struct Attempt {
    /// In a word.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
    /// All that it wrote.
    pub output: String,
}

/// Runs the command to its end or its bound, with its output in that file meanwhile.
///
/// # Panics
/// When it cannot be started, or its output not kept.
pub fn attempt(mut command: Command, log: &Path, bound: Duration) -> Attempt {
    let file = File::create(log).unwrap();
    // A group of its own: what it started ends with it, and the daemon, which leads another, does not.
    command.process_group(0).stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
    let start = Instant::now();
    let mut child = command.spawn().unwrap();
    let mut ended: Option<ExitStatus> = None;
    while ended.is_none() && start.elapsed() < bound {
        sleep(Duration::from_millis(20));
        ended = child.try_wait().unwrap();
    }
    let took = start.elapsed();
    // What it left running in the foreground is in nobody's way after it, whatever its end.
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait();
    let mut output = String::from_utf8_lossy(&fs::read(log).unwrap()).into_owned();
    let outcome = Outcome::of(ended, &output);
    if outcome == Outcome::Late {
        let last = output.trim_end().lines().next_back().unwrap_or("nothing that it told").trim().to_owned();
        output.push_str(&format!("not done after {} s; it was at: {last}\n", bound.as_secs()));
    }
    Attempt { outcome, took, output }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{processes::is_alive, wait_for};

    fn sh(script: &str, bound: Duration) -> Attempt {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        attempt(command, &folder.path().join("log"), bound)
    }

    #[test]
    fn both_streams_are_kept_in_order_and_the_status_tells() {
        let passed = sh("echo one; echo two >&2; echo three", Duration::from_secs(60));
        assert_eq!((passed.outcome, passed.output.as_str()), (Outcome::Ok, "one\ntwo\nthree\n"));
        let failed = sh("echo why >&2; exit 101", Duration::from_secs(60));
        assert_eq!((failed.outcome, failed.output.as_str()), (Outcome::Failed, "why\n"));
    }

    #[test]
    fn one_that_hangs_is_ended_with_what_it_runs_and_tells_what_it_waited_for() {
        let script = "sleep 1000 & echo $!; echo '   0.1 s  waiting for a bus'; wait";
        let late = sh(script, Duration::from_millis(500));
        assert_eq!(late.outcome, Outcome::Late);
        assert!(late.output.ends_with("not done after 0 s; it was at: 0.1 s  waiting for a bus\n"), "{}", late.output);
        let sleeper: u32 = late.output.lines().next().unwrap().parse().unwrap();
        wait_for("the process that it ran to end", || (!is_alive(sleeper)).then_some(()));
    }
}
