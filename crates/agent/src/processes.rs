//! The processes of this machine, as `/proc` lists them.
//!
//! Owns: reading that list, and ending a whole session. Must not block: of each process only its `stat` is read, which the
//! kernel answers whatever the process waits for.

use crate::sys;
use rustix::process::{Pid, Signal, kill_process_group};

/// Kills a process group and whatever else is in the session that its leader began.
pub(crate) fn kill_session(leader: Pid) {
    let _ = kill_process_group(leader, Signal::KILL);
    for process in all().filter(|process| process.session == leader.as_raw_pid()) {
        let _ = sys::kill(process.pid, Signal::KILL.as_raw());
    }
}

/// What `/proc` tells of a process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process {
    /// Its id.
    pub(crate) pid: i32,
    /// Its parent's id.
    pub(crate) parent: i32,
    /// Its session's id.
    pub(crate) session: i32,
    /// Whether it has ended and waits to be reaped.
    pub(crate) zombie: bool,
}

impl Process {
    /// Whether it is one of the kernel's own threads, which all descend from process 2.
    pub(crate) fn is_kernel(&self) -> bool {
        self.pid == 2 || self.parent == 2
    }
}

/// The processes that are there now.
pub(crate) fn all() -> impl Iterator<Item = Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read(entry.path().join("stat")).ok()?;
        parse_stat(pid, &String::from_utf8_lossy(&stat))
    })
}

/// Whether a process has said what it does at `signal`: it catches it, or collects it from a descriptor.
pub(crate) fn heeds(pid: i32, signal: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| heeds_by(&status, signal))
}

/// Reads `/proc/PID/status`, where the set of signals that are caught and that of those that are blocked are hexadecimal.
fn heeds_by(status: &str, signal: i32) -> bool {
    let set = |name: &str| {
        let digits = status.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(digits.trim(), 16).ok()
    };
    let bit = u32::try_from(signal - 1).ok().and_then(|shift| 1_u64.checked_shl(shift)).unwrap_or(0);
    ["SigCgt:", "SigBlk:"].into_iter().filter_map(set).any(|set| set & bit != 0)
}

/// Reads a line of `/proc/PID/stat`: `PID (NAME) STATE PPID PGRP SESSION`, where the name may hold anything.
fn parse_stat(pid: i32, stat: &str) -> Option<Process> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let zombie = fields.next()? == "Z";
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    Some(Process { pid, parent, session, zombie })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_what_separates_fields() {
        let process = parse_stat(7, "7 (a) R 1 (b) Z 3 4 5 0 -1 0").expect("a whole line");
        assert_eq!((process.pid, process.parent, process.session, process.zombie), (7, 3, 5, true));
        assert!(parse_stat(7, "7 (a) R 1").is_none());
    }

    #[test]
    fn a_signal_is_heeded_when_caught_or_blocked() {
        let status = "Name:\tx\nSigBlk:\t0000002000000000\nSigIgn:\t0000000000001000\nSigCgt:\t0000000000000001\n";
        let heeded: Vec<i32> = (-1..70).filter(|signal| heeds_by(status, *signal)).collect();
        assert_eq!(heeded, [1, 38]);
    }

    #[test]
    fn this_process_is_listed() {
        let own = rustix::process::getpid().as_raw_pid();
        assert!(all().any(|process| process.pid == own && !process.zombie));
    }
}
