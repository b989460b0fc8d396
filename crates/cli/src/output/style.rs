//! Colour, sparingly. Owns: the few tones banger speaks in and whether a stream takes them. Everything must read well
//! without them.

use std::io::IsTerminal;

/// What a piece of text is, as far as its colour goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Something failed.
    Error,
    /// Something to look at.
    Warning,
    /// What to do.
    Hint,
    /// As it should be.
    Good,
    /// Of second rank.
    Dim,
    /// Stands out.
    Bold,
}

/// Whether text for one stream is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    coloured: bool,
}

impl Style {
    /// Colour for a terminal, unless `NO_COLOR` is set or the terminal is dumb.
    pub(crate) fn of(stream: &impl IsTerminal) -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self { coloured: stream.is_terminal() && !unwanted && !dumb }
    }

    /// The text in its tone.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Error => "1;31",
            Tone::Warning => "1;33",
            Tone::Hint => "36",
            Tone::Good => "32",
            Tone::Dim => "2",
            Tone::Bold => "1",
        };
        if self.coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
impl Style {
    /// No colour at all.
    pub(crate) const PLAIN: Self = Self { coloured: false };
    /// Colour whatever the stream is.
    pub(crate) const COLOURED: Self = Self { coloured: true };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paints_only_when_asked() {
        assert_eq!(Style::PLAIN.paint(Tone::Error, "error"), "error");
        assert_eq!(Style::COLOURED.paint(Tone::Error, "error"), "\x1b[1;31merror\x1b[0m");
    }
}
