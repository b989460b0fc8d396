//! One line at a time for whoever reads the guest's console.
//!
//! Owns: the prefix by which the host tells our lines from the kernel's. Must not fail or block the boot: a guest without a
//! console boots just as well.

use rustix::fs::{Mode, OFlags, open};
use std::fmt;

/// Before every line of ours.
const PREFIX: &str = "banger: ";

/// Prints a line on the console.
pub(crate) fn say(line: impl fmt::Display) {
    // Opened anew for each line: the console may be hung up by whoever logs in on it.
    let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::CLOEXEC;
    if let Ok(console) = open("/dev/console", flags, Mode::empty()) {
        let _ = rustix::io::write(&console, format!("{PREFIX}{line}\r\n").as_bytes());
    }
}
