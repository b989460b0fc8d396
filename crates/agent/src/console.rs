//! One line at a time for whoever reads the guest's console.
//!
//! Owns: the prefix by which the host tells our lines from the kernel's. Must not fail or block the boot: a guest without a
//! console boots just as well.

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, open};
use std::fmt;

/// Before every line of ours.
const PREFIX: &str = "banger: ";

/// Prints a line on the console.
pub(crate) fn say(line: impl fmt::Display) {
    print(line);
}

/// As [`say`], and waits until the line is out: what comes next may be the machine's end.
pub(crate) fn say_last(line: impl fmt::Display) {
    if let Some(console) = print(line) {
        let _ = rustix::termios::tcdrain(&console);
    }
}

fn print(line: impl fmt::Display) -> Option<OwnedFd> {
    // Opened anew for each line: the console may be hung up by whoever logs in on it.
    let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::CLOEXEC;
    let console = open("/dev/console", flags, Mode::empty()).ok()?;
    let _ = rustix::io::write(&console, format!("{PREFIX}{line}\n").as_bytes());
    Some(console)
}
