//! Finding the processes that belong to a folder: everything that was started in a sandbox names it, in its arguments or
//! in its environment.

use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;

/// A process that is alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its arguments, with spaces between them.
    pub command: String,
}

/// Every live process, but this one, that mentions one of the folders.
pub fn of(folders: &[&Path]) -> Vec<Process> {
    let mentions = |text: &[u8]| folders.iter().any(|folder| contains(text, folder.as_os_str().as_encoded_bytes()));
    those(|arguments, environment| mentions(arguments) || mentions(&environment()))
}

/// Every live process with exactly these arguments.
pub fn alike(command: &str) -> Vec<Process> {
    those(|arguments, _| readable(arguments) == command)
}

/// The live processes whose arguments and environment are such.
fn those(wanted: impl Fn(&[u8], &dyn Fn() -> Vec<u8>) -> bool) -> Vec<Process> {
    let own = std::process::id();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let read = |name: &str| std::fs::read(entry.path().join(name)).unwrap_or_default();
        let arguments = read("cmdline");
        if pid != own && !arguments.is_empty() && wanted(&arguments, &|| read("environ")) {
            found.push(Process { pid, command: readable(&arguments) });
        }
    }
    found
}

fn readable(arguments: &[u8]) -> String {
    String::from_utf8_lossy(arguments).replace('\0', " ").trim_end().to_owned()
}

/// The processes that a process has started and not outlived.
pub fn children(parent: u32) -> Vec<Process> {
    let parent = parent.to_string();
    those(|_, _| true).into_iter().filter(|process| stat(process.pid).is_some_and(|stat| stat[1] == parent)).collect()
}

/// The process that began the session of a process; the session outlives it.
pub fn session(pid: u32) -> Option<u32> {
    stat(pid)?[3].parse().ok()
}

/// The fields of `/proc/PID/stat` from the third on, which is the state.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before the last parenthesis may hold anything.
    Some(text.rsplit(')').next()?.split_whitespace().map(str::to_owned).collect())
}

/// Ends a process that a test started, directly or not.
pub fn kill(pid: u32) {
    signal(pid, Signal::KILL);
}

/// Sends a signal to a process that a test started, directly or not.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Whether a process is there and has not ended. One whose first thread has ended lives as long as others do: until then they
/// keep its sockets and locks.
pub fn is_alive(pid: u32) -> bool {
    let Some(stat) = stat(pid) else { return false };
    let (ended, threads) = (stat[0] == "Z" || stat[0] == "X", stat[17].parse::<u32>().unwrap());
    !ended || threads > 1
}

/// Whether a path is in a text, and not just the beginning of another: `/x/1` is not in `/x/12`.
fn contains(text: &[u8], path: &[u8]) -> bool {
    let at = |n: usize| text.get(n + path.len()).is_none_or(|next| !next.is_ascii_alphanumeric());
    text.windows(path.len()).enumerate().any(|(n, window)| window == path && at(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_not_found_in_another_that_begins_with_it() {
        assert!(
            contains(b"--socket /x/1/api.sock", b"/x/1")
                && contains(b"HOME=/x/1\0A=B", b"/x/1")
                && contains(b"/x/1", b"/x/1")
        );
        assert!(!contains(b"--socket /x/12/api.sock", b"/x/1"));
    }
}
