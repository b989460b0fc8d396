//! The events of a running operation, one JSON object a line.

use super::{ClientError, MAX_ANSWER};
use banger_model::api::op::OpEvent;
use bytes::{Buf, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;

/// An answer that comes in lines. Dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct Events {
    path: String,
    body: Incoming,
    lines: Lines,
}

/// One line of it.
#[derive(Debug)]
pub(crate) struct Line {
    /// As it came, without its end.
    pub(crate) text: String,
    /// What it says; none for an event that this version does not know.
    pub(crate) event: Option<OpEvent>,
}

impl Events {
    pub(super) fn new(path: String, body: Incoming) -> Self {
        Self { path, body, lines: Lines::default() }
    }

    /// The next line, or none when the answer has ended.
    pub(crate) async fn next(&mut self) -> Result<Option<Line>, ClientError> {
        loop {
            if let Some(line) = self.lines.next_line() {
                return self.parse(&line).map(Some);
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(ClientError::BrokeOff(error.into())),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.lines.buffer.extend_from_slice(data);
                    }
                }
            }
            if self.lines.buffer.len() > MAX_ANSWER {
                return Err(ClientError::BrokeOff("a line without an end".into()));
            }
        }
    }

    fn parse(&self, line: &[u8]) -> Result<Line, ClientError> {
        let strange = |source| ClientError::Strange { path: self.path.clone(), source };
        let event = event(line).map_err(strange)?;
        Ok(Line { text: String::from_utf8_lossy(line).into_owned(), event })
    }
}

/// What a line says. A newer daemon may have events that we do not know; anything else than an object is no event.
pub(super) fn event(line: &[u8]) -> Result<Option<OpEvent>, serde_json::Error> {
    match serde_json::from_slice(line) {
        Ok(event) => Ok(Some(event)),
        Err(_) => serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(line).map(|_| None),
    }
}

/// Cuts bytes, in whatever pieces they come, into lines.
#[derive(Debug, Default)]
struct Lines {
    buffer: BytesMut,
}

impl Lines {
    fn next_line(&mut self) -> Option<BytesMut> {
        loop {
            let end = self.buffer.iter().position(|byte| *byte == b'\n')?;
            let line = self.buffer.split_to(end);
            self.buffer.advance(1);
            if !line.is_empty() {
                return Some(line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_in_pieces_of_any_size() {
        let text = b"{\"a\":1}\n\n{\"b\":2}\nrest";
        for piece in 1..text.len() {
            let (mut lines, mut seen) = (Lines::default(), Vec::new());
            for bytes in text.chunks(piece) {
                lines.buffer.extend_from_slice(bytes);
                while let Some(line) = lines.next_line() {
                    seen.push(String::from_utf8(line.to_vec()).unwrap());
                }
            }
            assert_eq!(seen, ["{\"a\":1}", "{\"b\":2}"], "in pieces of {piece}");
            assert_eq!(&lines.buffer[..], b"rest");
        }
    }
}
