//! What a guest said on its serial console, and what that tells about its end.
//!
//! The bytes come from the guest: they are hostile, may be endless and need not be text. Everything here reads the end of
//! the file only and hands out nothing that a terminal would obey.

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
    match clean.char_indices().nth(MAX_LINE) {
        Some((at, _)) => clean.truncate(at),
        None => {}
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
