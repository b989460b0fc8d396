//! Text from outside made safe to show. Guests, images and registries are hostile until proved otherwise, and a terminal
//! obeys what it is shown: control characters in their words must not reach it as such.

/// One line of text: control characters are shown as escapes, so nothing of it can move the cursor or change the terminal.
pub(crate) fn line(text: &str) -> String {
    text.trim_end().chars().flat_map(shown).collect()
}

/// Text of several lines: as [`line`], but line ends and tabs stay.
pub(crate) fn lines(text: &str) -> String {
    text.chars().flat_map(|c| if matches!(c, '\n' | '\t') { Shown::Plain(Some(c)) } else { shown(c) }).collect()
}

fn shown(c: char) -> Shown {
    // Bidirectional overrides reorder what is read, which is a way to deceive too.
    let deceptive = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if c.is_control() || deceptive { Shown::Escaped(c.escape_default()) } else { Shown::Plain(Some(c)) }
}

enum Shown {
    Plain(Option<char>),
    Escaped(std::char::EscapeDefault),
}

impl Iterator for Shown {
    type Item = char;
    fn next(&mut self) -> Option<char> {
        match self {
            Self::Plain(c) => c.take(),
            Self::Escaped(escape) => escape.next(),
        }
    }
}

/// Filters a guest's console for a terminal: text, line ends and colours pass, every other control sequence is dropped.
/// Keeps its state between calls, so a sequence may be cut anywhere.
#[derive(Debug, Default)]
pub(crate) struct ConsoleFilter {
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Text,
    /// An escape character was seen.
    Escape,
    /// Inside `ESC [`; holds the parameters so far.
    Sequence(Vec<u8>),
    /// Inside a string such as a window title, which ends with BEL or ESC \.
    Chatter,
}

/// The longest colour sequence that is let through, in bytes of parameters.
const MAX_PARAMETERS: usize = 32;

impl ConsoleFilter {
    /// Appends what may be shown of `bytes` to `out`.
    pub(crate) fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for byte in bytes {
            self.state = match (std::mem::take(&mut self.state), byte) {
                (State::Text, 0x1b) | (State::Chatter, 0x1b) => State::Escape,
                (State::Text, b'\n' | b'\r' | b'\t' | 0x20..=0x7e | 0x80..) => {
                    out.push(*byte);
                    State::Text
                }
                (State::Text, _) | (State::Chatter, 0x07) => State::Text,
                (State::Chatter, _) => State::Chatter,
                (State::Escape, b'[') => State::Sequence(Vec::new()),
                (State::Escape, b']' | b'P' | b'X' | b'^' | b'_') => State::Chatter,
                // Intermediate characters of a two-character escape: one more follows.
                (State::Escape, 0x20..=0x2f) => State::Escape,
                (State::Escape, _) => State::Text,
                (State::Sequence(parameters), b'm') => {
                    if parameters.len() <= MAX_PARAMETERS && parameters.iter().all(|p| matches!(p, b'0'..=b'9' | b';'))
                    {
                        out.extend_from_slice(b"\x1b[");
                        out.extend_from_slice(&parameters);
                        out.push(b'm');
                    }
                    State::Text
                }
                (State::Sequence(mut parameters), 0x20..=0x3f) => {
                    if parameters.len() <= MAX_PARAMETERS {
                        parameters.push(*byte);
                    }
                    State::Sequence(parameters)
                }
                (State::Sequence(_), _) => State::Text,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_not_obeyed() {
        assert_eq!(line("a\x1b[2Jb\r\n"), "a\\u{1b}[2Jb");
        assert_eq!(line("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(lines("one\n\ttwo\x07"), "one\n\ttwo\\u{7}");
        assert_eq!(line("größe ✓"), "größe ✓");
    }

    #[test]
    fn a_console_keeps_its_text_and_colours_only() {
        let hostile = b"ok \x1b[32mgreen\x1b[0m\x1b[2J\x1b]0;title\x07\x1b]0;x\x1b\\\x1b(B\x07done\xc3\xa9\r\n";
        for piece in 1..hostile.len() {
            let (mut filter, mut out) = (ConsoleFilter::default(), Vec::new());
            for bytes in hostile.chunks(piece) {
                filter.feed(bytes, &mut out);
            }
            assert_eq!(String::from_utf8_lossy(&out), "ok \x1b[32mgreen\x1b[0mdoneé\r\n", "in pieces of {piece}");
        }
    }
}
