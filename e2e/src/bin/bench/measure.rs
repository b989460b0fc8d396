//! Taking times: wall beside processor, medians of several runs.

use crate::table::show;
use banger_e2e::Call;
use std::{
    fmt, fs,
    process::Stdio,
    time::{Duration, Instant},
};

/// What something took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cost {
    /// As a clock on the wall sees it.
    pub(crate) wall: Duration,
    /// Of all processors together; none when it is not known.
    pub(crate) cpu: Option<Duration>,
}

/// `/proc` counts in hundredths of a second, whatever the kernel's own tick (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// Runs `job` once; `daemon` is a process that works for it and lives on.
pub(crate) fn once<T>(daemon: Option<u32>, job: impl FnOnce() -> T) -> Cost {
    let spent = || children() + daemon.map(with_children).unwrap_or_default();
    let (before, start) = (spent(), Instant::now());
    job();
    Cost { wall: start.elapsed(), cpu: Some(spent().saturating_sub(before)) }
}

/// The median by wall time.
pub(crate) fn median(mut costs: Vec<Cost>) -> Cost {
    costs.sort_unstable();
    costs[costs.len() / 2]
}

/// The median of `times` runs of a call that must succeed; for calls so short that `/proc`'s ticks do not show them, nor
/// may a bound that has to be looked at now and then.
pub(crate) fn repeated(times: u32, call: impl Fn() -> Call) -> Cost {
    let run = |_| {
        let mut command = call().into_command();
        command.stdin(Stdio::null());
        let start = Instant::now();
        let output = command.output().unwrap();
        let wall = start.elapsed();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        Cost { wall, cpu: None }
    };
    median((0..times).map(run).collect())
}

/// The processor time of all children of this process that have ended, theirs included.
fn children() -> Duration {
    ticks("self", &[15, 16])
}

/// The processor time of a process and of its ended children.
fn with_children(pid: u32) -> Duration {
    ticks(&pid.to_string(), &[13, 14, 15, 16])
}

/// Fields of `/proc/PID/stat`, counted from 0 (proc(5)), summed up.
fn ticks(pid: &str, fields: &[usize]) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let Some((_, rest)) = stat.rsplit_once(')') else { return Duration::ZERO };
    let values: Vec<u32> = rest.split_whitespace().map(|word| word.parse().unwrap_or(0)).collect();
    // The name, field 1, is cut off with the process id before it.
    fields.iter().filter_map(|field| values.get(field - 2)).map(|value| TICK * *value).sum()
}

/// A line of `/proc/PID/status`, in KiB.
pub(crate) fn memory(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Makes `VmHWM` count from now on (proc(5), `clear_refs`).
pub(crate) fn forget_peak(pid: u32) {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show(self.wall))?;
        self.cpu.map_or(Ok(()), |cpu| write!(f, " ({})", show(cpu)))
    }
}
