//! What every source file must keep to: a length that has one reason to change, and a head that says what it owns.

use std::{error::Error, process::Command};

/// More lines than this are a fault.
const TOO_LONG: usize = 800;

/// What was found.
pub(crate) struct Files {
    /// In words.
    pub(crate) faults: Vec<String>,
    /// How long files are.
    pub(crate) summary: String,
}

/// Reads every Rust file that git knows.
pub(crate) fn check() -> Result<Files, Box<dyn Error>> {
    let listed = Command::new("git").args(["ls-files", "-z", "--", "*.rs"]).output()?;
    if !listed.status.success() {
        return Err(String::from_utf8_lossy(&listed.stderr).into());
    }
    let (mut faults, mut lengths) = (Vec::new(), Vec::new());
    for path in String::from_utf8(listed.stdout)?.split_terminator('\0') {
        // Deleted, and not committed yet.
        let Ok(text) = std::fs::read_to_string(path) else { continue };
        let length = text.lines().count();
        lengths.push(length);
        if length > TOO_LONG {
            faults.push(format!("{path} has {length} lines; {TOO_LONG} is the most"));
        }
        if !text.starts_with("//!") {
            faults.push(format!("{path} does not begin with //! and what it owns"));
        }
    }
    lengths.sort_unstable();
    let at = |per_cent: usize| lengths.get(lengths.len() * per_cent / 100).copied().unwrap_or_default();
    let summary = format!(
        "{} files, median {} lines, nine of ten below {}, longest {}",
        lengths.len(),
        at(50),
        at(90),
        lengths.last().copied().unwrap_or_default()
    );
    Ok(Files { faults, summary })
}
