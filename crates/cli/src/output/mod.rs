//! Where words go. Owns: standard output (data) and standard error (talk), and what each may look like. Nothing else in
//! the crate writes to either, save the bytes of a guest's command.

pub(crate) mod age;
pub(crate) mod check;
pub(crate) mod clean;
pub(crate) mod progress;
pub(crate) mod style;
pub(crate) mod table;

use indicatif::{MultiProgress, ProgressDrawTarget};
use serde::Serialize;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use style::{Style, Tone};

/// Standard output could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    /// Its reader has gone: not worth a word.
    #[error("standard output is closed")]
    Closed,
    /// Anything else, such as a full disk.
    #[error("cannot write to standard output")]
    Write(#[source] io::Error),
    /// A value that is no JSON, which none of ours is.
    #[error("cannot write the answer as JSON")]
    Json(#[source] serde_json::Error),
}

impl From<io::Error> for OutputError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::Closed } else { Self::Write(error) }
    }
}

/// How the user wants to be spoken to.
#[derive(Debug)]
pub(crate) struct Ui {
    /// JSON on standard output, no progress.
    pub(crate) json: bool,
    /// Nothing on standard error but errors.
    pub(crate) quiet: bool,
    /// Every request on standard error.
    pub(crate) verbose: bool,
    /// The look of standard output.
    pub(crate) out: Style,
    /// The look of standard error.
    pub(crate) err: Style,
    /// The live lines at the bottom of the terminal; hidden when standard error is none.
    live: MultiProgress,
    is_live: bool,
}

impl Ui {
    /// Looks at what standard output and error are.
    pub(crate) fn new(json: bool, quiet: bool, verbose: bool) -> Self {
        let is_live =
            io::stderr().is_terminal() && !quiet && !json && std::env::var_os("TERM").is_none_or(|t| t != "dumb");
        let target = if is_live { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self {
            json,
            quiet,
            verbose,
            out: Style::of(&io::stdout()),
            err: Style::of(&io::stderr()),
            live: MultiProgress::with_draw_target(target),
            is_live,
        }
    }

    /// Writes data to standard output.
    pub(crate) fn print(&self, text: &str) -> Result<(), OutputError> {
        self.print_bytes(text.as_bytes())
    }

    /// Writes data that may be no text to standard output, past the live lines.
    pub(crate) fn print_bytes(&self, bytes: &[u8]) -> Result<(), OutputError> {
        let write = || {
            let mut out = io::stdout().lock();
            out.write_all(bytes)?;
            Ok(out.flush()?)
        };
        if self.is_live { self.live.suspend(write) } else { write() }
    }

    /// Writes a line of data to standard output.
    pub(crate) fn print_line(&self, text: &str) -> Result<(), OutputError> {
        self.print(&format!("{text}\n"))
    }

    /// Writes a value to standard output as one line of JSON.
    pub(crate) fn print_json(&self, value: &impl Serialize) -> Result<(), OutputError> {
        self.print_line(&serde_json::to_string(value).map_err(OutputError::Json)?)
    }

    /// Writes a listing as the user wants it: as JSON, as its names alone when quiet, or as `people` have it.
    pub(crate) fn print_list<N: Display>(
        &self,
        list: &impl Serialize,
        names: impl Iterator<Item = N>,
        people: impl FnOnce() -> Result<(), OutputError>,
    ) -> Result<(), OutputError> {
        if self.json {
            return self.print_json(list);
        }
        if self.quiet {
            return self.print(&names.map(|name| format!("{name}\n")).collect::<String>());
        }
        people()
    }

    /// Says something on standard error, unless the user wants quiet.
    pub(crate) fn say(&self, text: &str) {
        if !self.quiet {
            self.talk(text);
        }
    }

    /// Says something to look at on standard error, unless the user wants quiet.
    pub(crate) fn warn(&self, text: &str) {
        self.say(&format!("{} {text}", self.err.paint(Tone::Warning, "warning:")));
    }

    /// Says what is done behind the scenes, when the user asked for it.
    pub(crate) fn trace(&self, text: impl FnOnce() -> String) {
        if self.verbose {
            self.talk(&self.err.paint(Tone::Dim, &text()));
        }
    }

    /// Writes to standard error in any case, past the live lines.
    pub(crate) fn talk(&self, text: &str) {
        // Nobody is left to be told when standard error itself is closed.
        let write = || drop(writeln!(io::stderr().lock(), "{text}"));
        if self.is_live { self.live.suspend(write) } else { write() }
    }
}
