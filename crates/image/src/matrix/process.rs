//! Acts in a process of their own: one that is killed, or led step by step.

use super::acts::Act;
use super::bench::{Bench, wanted};
use crate::effect::plan::{self, Fault, How, When};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// What such a process is to do; it is this program again, told by the environment.
const ACT: &str = "BANGER_TEST_STORE_ACT";
const FOLDER: &str = "BANGER_TEST_STORE_FOLDER";
/// Step and side of the kill; led if there is none.
const KILL: &str = "BANGER_TEST_STORE_KILL";
const SIDES: [When; 3] = [When::Before, When::Midway, When::After];

/// Does what the environment says, if it says anything. Then the process has done what it is for.
pub(super) fn serve() -> bool {
    let Ok(act) = std::env::var(ACT) else { return false };
    let (act, folder) = (Act::named(&act), std::env::var_os(FOLDER).unwrap().into());
    let bench = Bench::of(folder, act);
    let Ok(kill) = std::env::var(KILL) else {
        plan::led(|| act.perform(&bench, &wanted())).unwrap();
        return true;
    };
    let (at, side) = kill.split_once(' ').unwrap();
    let when = SIDES.into_iter().find(|when| format!("{when:?}") == side).unwrap();
    let fault = Fault { at: at.parse().unwrap(), when, how: How::Killed };
    let (done, _) = plan::with(&[fault], || act.perform(&bench, &wanted()));
    panic!("it was to be killed: {done:?}");
}

/// This program again, to do `act` and nothing else.
fn again(act: Act, bench: &Bench, test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command.env(ACT, format!("{act:?}")).env(FOLDER, &bench.folder).env_remove(KILL);
    command
}

/// Does `act` in a process that is killed at that step.
pub(super) fn killed(act: Act, bench: &Bench, at: usize, when: When, test: &str) {
    let mut command = again(act, bench, test);
    let output = command.env(KILL, format!("{at} {when:?}")).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.signal(), Some(9), "{}", String::from_utf8_lossy(&output.stdout));
}

/// A process that does an act, one step after the other as it is told.
pub(super) struct Led {
    child: Child,
    stdin: ChildStdin,
    lines: BufReader<ChildStdout>,
}

impl Led {
    pub(super) fn begin(act: Act, bench: &Bench, test: &str) -> Self {
        let mut child = again(act, bench, test).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, stdin, lines: BufReader::new(stdout) }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it is about to do; nothing when it is through.
    pub(super) fn next(&mut self) -> Option<String> {
        let mut line = String::new();
        while self.lines.read_line(&mut line).unwrap() > 0 {
            // The harness may have begun the line.
            if let Some((_, step)) = line.trim_end().split_once(plan::LED) {
                return Some(step.to_owned());
            }
            line.clear();
        }
        None
    }

    /// Lets it do that.
    pub(super) fn go(&mut self) {
        self.stdin.write_all(b"\n").unwrap();
    }

    /// It must have ended well.
    pub(super) fn end(mut self) {
        assert!(self.child.wait().unwrap().success(), "it failed");
    }
}
