//! What a guest said on its serial console, and what that tells about its end.
//!
//! The bytes come from the guest: they are hostile, may be endless and need not be text. Everything here reads the end of
//! the file only and hands out nothing that a terminal would obey.

mod changes;

pub use changes::Changes;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// How much of a console's end is looked at, in bytes.
const WINDOW: u64 = 64 * 1024;
/// Longest line that is handed out, in characters.
const MAX_LINE: usize = 500;

/// The last `lines` lines of the file, empty ones left out, fit for display.
///
/// # Errors
/// When the file cannot be read.
pub fn tail(path: &Path, lines: usize) -> io::Result<Vec<String>> {
    Ok(last_lines(&end_of(path)?, lines))
}

/// What Firecracker logs as a warning whenever a guest begins or ends.
const NO_COMPLAINT: &str = "immediate_exit enabled";

/// The same of a VMM's own log: the last lines that complain of something.
///
/// # Errors
/// When the file cannot be read.
pub fn complaints(path: &Path, lines: usize) -> io::Result<Vec<String>> {
    Ok(last_complaints(&end_of(path)?, lines))
}

fn last_complaints(bytes: &[u8], count: usize) -> Vec<String> {
    let mut lines = last_lines(bytes, usize::MAX);
    lines.retain(|line| !line.contains(NO_COMPLAINT));
    lines.split_off(lines.len().saturating_sub(count))
}

/// What a guest's console tells of how its boot ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Its kernel panicked, with these words.
    Panicked(String),
    /// It powered off.
    PoweredOff,
    /// It rebooted, which ends a VMM too.
    Rebooted,
    /// Nothing of that: it goes on, or was cut off.
    Open,
}

/// What the end of the console tells.
///
/// # Errors
/// When the file cannot be read.
pub fn ending(path: &Path) -> io::Result<Ending> {
    Ok(ending_of(&end_of(path)?))
}

/// The last of the kernel's own lines that ends a boot decides. They begin with the kernel's time, which a guest's program
/// would have to fake.
pub fn ending_of(bytes: &[u8]) -> Ending {
    let last = bytes.rsplit(|b| *b == b'\n').find_map(|line| {
        let line = clean(line);
        let said = line.strip_prefix('[')?.split_once("] ")?.1;
        if let Some(message) = said.strip_prefix("Kernel panic - not syncing: ") {
            return Some(Ending::Panicked(message.to_owned()));
        }
        match said {
            "reboot: Power down" | "reboot: System halted" => Some(Ending::PoweredOff),
            "reboot: Restarting system" => Some(Ending::Rebooted),
            _ => None,
        }
    });
    last.unwrap_or(Ending::Open)
}

/// Last words behind an error's own: nothing, or a colon and the lines.
pub(crate) struct Said<'a>(pub(crate) &'a [String]);

impl std::fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            [] => Ok(()),
            lines => write!(f, ": {}", lines.join("; ")),
        }
    }
}

/// The end of the file, at most the window.
fn end_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(WINDOW)))?;
    let mut bytes = Vec::new();
    file.take(WINDOW).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The last `count` lines that say something.
pub fn last_lines(bytes: &[u8], count: usize) -> Vec<String> {
    let mut lines: Vec<String> =
        bytes.rsplit(|b| *b == b'\n').map(clean).filter(|line| !line.is_empty()).take(count).collect();
    lines.reverse();
    lines
}

/// A line as text: no escape sequences, no control characters, no spaces at its end, not longer than is of use.
pub fn clean(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut clean = String::with_capacity(text.len().min(MAX_LINE));
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => skip_escape(&mut chars),
            '\t' => clean.push(' '),
            c if c.is_control() => {}
            c => clean.push(c),
        }
    }
    clean.truncate(clean.trim_end().len());
    if let Some((at, _)) = clean.char_indices().nth(MAX_LINE) {
        clean.truncate(at);
    }
    clean
}

/// Skips the rest of an escape sequence: `[`, parameters and a final letter; or one character.
fn skip_escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    if chars.next() == Some('[') {
        for c in chars.by_ref() {
            if ('\u{40}'..='\u{7e}').contains(&c) {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_is_fit_for_a_terminal() {
        for (line, expected) in [
            (&b"plain\r"[..], "plain"),
            (b"\x1b[0;1;31mred\x1b[0m and \x1b]0;title\x07", "red and 0;title"),
            (b"a\tb\x00\x07  ", "a b"),
            (b"\xff\xfe", "\u{fffd}\u{fffd}"),
            (b"\x1b[", ""),
            (b"\x1b", ""),
        ] {
            assert_eq!(clean(line), expected);
        }
        assert_eq!(clean(&[b'x'; 5000]).len(), MAX_LINE);
    }

    #[test]
    fn what_a_vmm_says_of_every_guest_is_no_complaint() {
        let text =
            b"no such disk\nReceived a VcpuEvent::Resume message with immediate_exit enabled. It was disabled\nworse\n\
            Requested a vCPU run with immediate_exit enabled. The operation was skipped\n";
        assert_eq!(last_complaints(text, 9), ["no such disk", "worse"]);
        assert_eq!(last_complaints(text, 1), ["worse"]);
    }

    #[test]
    fn the_last_lines_that_say_something_in_their_order() {
        let text = b"one\n\ntwo\r\n \nthree";
        assert_eq!(last_lines(text, 2), ["two", "three"]);
        assert_eq!(last_lines(text, 9), ["one", "two", "three"]);
        assert!(last_lines(b"", 3).is_empty());
    }

    #[test]
    fn only_the_end_of_an_endless_console_is_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let filler = usize::try_from(WINDOW).unwrap();
        std::fs::write(file.path(), [b"first\n".as_slice(), &vec![b'y'; filler], b"\nlast\n"].concat()).unwrap();
        let lines = tail(file.path(), 10).unwrap();
        assert_eq!((lines.len(), lines[1].as_str()), (2, "last"));
        assert_eq!(lines[0].len(), MAX_LINE);
    }

    #[test]
    fn how_a_boot_ended() {
        let panic = "[    2.501846] Kernel panic - not syncing: sysrq triggered crash\r\n\
                     [    2.502] CPU: 0 PID: 1 Comm: init\r\n\
                     [    2.6] ---[ end Kernel panic - not syncing: sysrq triggered crash ]---\r\n";
        for (text, expected) in [
            (panic, Ending::Panicked("sysrq triggered crash".into())),
            ("[  3.1] reboot: Power down\r\n", Ending::PoweredOff),
            ("[  3.1] reboot: Restarting system\n", Ending::Rebooted),
            ("Kernel panic - not syncing: a program says so\n", Ending::Open),
            ("[  3.1] Freeing unused kernel memory\nlogin: ", Ending::Open),
            ("", Ending::Open),
        ] {
            assert_eq!(ending_of(text.as_bytes()), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_reach_a_terminal(bytes: Vec<u8>) {
            for line in last_lines(&bytes, 5) {
                prop_assert!(!line.chars().any(char::is_control));
            }
            let _ = ending_of(&bytes);
        }
    }
}
