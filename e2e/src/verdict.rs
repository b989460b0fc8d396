//! How a case went that ran as a process of its own, whoever ran it: judging it by its end and its words, and quoting these.

use serde::{Deserialize, Serialize};
use std::process::ExitStatus;

/// How a case went, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It passed.
    Ok,
    /// It could not run, and said so.
    Skipped,
    /// It failed.
    Failed,
    /// It was killed at its deadline.
    Late,
}

impl Outcome {
    /// Of a process that ended like that, or had to be ended, and of what it wrote.
    pub fn of(ended: Option<ExitStatus>, output: &str) -> Self {
        match ended {
            None => Self::Late,
            Some(status) if !status.success() => Self::Failed,
            Some(_) if skips(output).next().is_some() => Self::Skipped,
            Some(_) => Self::Ok,
        }
    }

    /// Whether something is wrong.
    pub fn is_bad(self) -> bool {
        matches!(self, Self::Failed | Self::Late)
    }
}

/// The lines that say what could not run, and why: see [`crate::need`].
pub fn skips(output: &str) -> impl Iterator<Item = &str> {
    output.lines().filter(|line| line.starts_with("SKIPPED: "))
}

/// An output set apart: it may hold such lines as its reader writes, which nobody is to take for ours.
pub fn quoted(output: &str) -> String {
    output.trim_end().lines().map(|line| format!("    | {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn the_end_counts_before_the_words() {
        let (good, bad) = (ExitStatus::from_raw(0), ExitStatus::from_raw(101 << 8));
        assert_eq!(Outcome::of(Some(good), "did it"), Outcome::Ok);
        assert_eq!(Outcome::of(Some(good), "a\nSKIPPED: it: no registry\n"), Outcome::Skipped);
        assert_eq!(Outcome::of(Some(good), "it was not SKIPPED: it says so"), Outcome::Ok);
        assert_eq!(Outcome::of(Some(bad), "SKIPPED: it: no registry"), Outcome::Failed);
        assert_eq!(Outcome::of(None, ""), Outcome::Late);
    }
}
