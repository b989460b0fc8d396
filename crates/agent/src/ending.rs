//! How the machine ends.
//!
//! Owns: the last steps of a machine whose PID 1 is the agent, and the words in which another init is asked to end it. Every
//! end is a restart as far as the kernel is concerned: a VMM ends with its guest's restart, wherever it runs, while not every
//! machine has a power switch.

use crate::command::program::DEFAULT_PATH;
use crate::{console, processes, sys};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::sync;
use rustix::mount::{MountFlags, UnmountFlags, mount_remount, unmount};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::system::{RebootCommand, reboot};
use rustix::time::Timespec;
use std::ffi::CString;
use std::fmt::Display;
use std::time::{Duration, Instant};

/// How long processes may take to end when asked to.
const POLITE: Duration = Duration::from_secs(5);
/// How long the kernel may take to end those that are killed.
const KILLED: Duration = Duration::from_secs(2);

/// How long the image's init may take to listen.
const READY: Duration = Duration::from_secs(30);
/// How often what nothing announces is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A machine that cannot be: says why and ends it.
pub(crate) fn abort(why: impl Display) -> ! {
    console::say_last(format_args!("the guest cannot go on: {why}"));
    restart()
}

/// Ends everything and the machine, as PID 1.
pub(crate) fn end() -> ! {
    everyone(libc::SIGTERM, POLITE);
    everyone(libc::SIGKILL, KILLED);
    sync();
    release_file_systems();
    sync();
    restart()
}

/// Asks PID 1, which is or is about to be the image's own init, to end the machine; ends it ourselves when it cannot be asked.
pub(crate) fn ask_init() -> ! {
    let program = || std::fs::read_link("/proc/1/exe").ok();
    let own = std::fs::read_link("/proc/self/exe").ok();
    if !holds_within(READY, || program() != own) {
        // The image's init could not be started, and the agent is still PID 1.
        let _ = sys::kill(1, libc::SIGTERM);
        sys::exit_now(0);
    }
    // systemd's word for "start poweroff.target". Until it listens for that, the kernel would drop it.
    let word = sys::realtime_signal(4);
    if program().is_some_and(|program| program.ends_with("systemd"))
        && holds_within(READY, || processes::heeds(1, word))
        && sys::kill(1, word).is_ok()
    {
        sys::exit_now(0);
    }
    sys::reset_signals();
    let path = CString::new(format!("PATH={DEFAULT_PATH}")).unwrap_or_default();
    for folder in DEFAULT_PATH.split(':') {
        let Ok(program) = CString::new(format!("{folder}/poweroff")) else { continue };
        sys::execve(&program, &[c"poweroff"], &[&path]);
    }
    end()
}

/// Waits for something that nothing announces. Says whether it came.
fn holds_within(bound: Duration, holds: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + bound;
    loop {
        match holds() {
            true => return true,
            false if Instant::now() >= deadline => return false,
            false => std::thread::sleep(LOOK_AGAIN),
        }
    }
}

fn restart() -> ! {
    let _ = reboot(RebootCommand::Restart);
    // Refused: then PID 1 must not go on, and its end is the kernel's panic.
    sys::exit_now(1)
}

/// Signals all processes but this one and waits, at most for `bound`, until none is left.
fn everyone(signal: i32, bound: Duration) {
    let deadline = Instant::now() + bound;
    let _ = sys::kill(-1, signal);
    loop {
        let own = rustix::process::getpid().as_raw_pid();
        // The service bears with the first signal: it is what the host still hears us through.
        let service = |pid| signal == libc::SIGTERM && is_service(pid);
        let left: Vec<_> = processes::all()
            .filter(|process| !process.zombie && !process.is_kernel() && process.pid != own && !service(process.pid))
            .filter_map(|process| pidfd_open(Pid::from_raw(process.pid)?, PidfdFlags::empty()).ok())
            .collect();
        let Some(first) = left.first() else { return };
        let Ok(timeout) = Timespec::try_from(deadline.saturating_duration_since(Instant::now())) else { return };
        if matches!(poll(&mut [PollFd::new(first, PollFlags::IN)], Some(&timeout)), Ok(0)) {
            return;
        }
    }
}

fn is_service(pid: i32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(crate::SERVICE_NAME.to_bytes()))
}

/// Unmounts what can be, and has the rest written out and closed for writing.
fn release_file_systems() {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut points: Vec<String> = table.lines().filter_map(mount_point).collect();
    points.reverse();
    let _ = mount_remount("/", MountFlags::RDONLY, "");
    for point in points.iter().filter(|point| !["/", "/proc", "/dev", "/sys"].contains(&point.as_str())) {
        let _ = mount_remount(point.as_str(), MountFlags::RDONLY, "");
        let _ = unmount(point.as_str(), UnmountFlags::empty());
    }
}

/// The mount point in a line of `mountinfo`, where spaces and the like are written as octal numbers.
fn mount_point(line: &str) -> Option<String> {
    let field = line.split(' ').nth(4)?;
    let mut bytes = Vec::new();
    let mut rest = field.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = (*first == b'\\').then(|| tail.get(..3)).flatten();
        let code = code.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &tail[3..] } else { tail };
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_unescaped() {
        let line = r"36 35 98:0 / /mnt/a\040b\134c rw,noatime - ext4 /dev/vda rw";
        assert_eq!(mount_point(line).as_deref(), Some(r"/mnt/a b\c"));
        assert_eq!(mount_point("short line"), None);
    }
}
