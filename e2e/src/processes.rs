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
    let own = std::process::id();
    let mentions = |text: &[u8]| folders.iter().any(|folder| contains(text, folder.as_os_str().as_encoded_bytes()));
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let read = |name: &str| std::fs::read(entry.path().join(name)).unwrap_or_default();
        let arguments = read("cmdline");
        if pid != own && !arguments.is_empty() && (mentions(&arguments) || mentions(&read("environ"))) {
            let command = String::from_utf8_lossy(&arguments).replace('\0', " ").trim_end().to_owned();
            found.push(Process { pid, command });
        }
    }
    found
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

/// Whether a process is there and has not ended.
pub fn is_alive(pid: u32) -> bool {
    // The state follows the last parenthesis; the name before it may hold anything.
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with(['Z', 'X'])))
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
