//! One frame, and the sans-IO codec for it.
//!
//! Layout, little endian: `u32` payload length, `u32` channel, `u8` kind, payload. A payload is at most [`MAX_PAYLOAD`]
//! bytes, so a decoder never holds more than one frame beyond what it was fed.

use super::guest::{Control, ExitStatus, Refusal, Reply, Request};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Longest payload of a frame, in bytes.
pub const MAX_PAYLOAD: usize = 64 * 1024;
/// Bytes of a frame before its payload.
pub const HEADER_LEN: usize = 9;
/// Longest piece of data in one [`Body::Data`], in bytes.
pub const MAX_DATA: usize = 32 * 1024;
/// What each stream of a channel may have in flight before the first [`Body::Credit`], in bytes.
pub const INITIAL_WINDOW: u32 = 256 * 1024;
/// What a consumer may have allowed and not yet been sent, in bytes. More credit than that breaks the protocol: whoever
/// forwards the stream must hold what its other end does not read.
pub const MAX_WINDOW: u32 = 1024 * 1024;

/// A message on one channel of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Chosen by the side that opens the channel; reusable after [`Body::Exit`], [`Body::Refuse`], or the [`Body::Accept`] of a
    /// request that starts nothing. What still comes for a channel that is over is ignored.
    pub channel: u32,
    /// What it says.
    pub body: Body,
}

/// The three byte streams of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Stream {
    /// Towards the command.
    Stdin = 0,
    /// From the command.
    Stdout = 1,
    /// From the command, never with a terminal.
    Stderr = 2,
}

/// What a frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Host to guest: begin this on a new channel.
    Open(Box<Request>),
    /// Guest to host: it was begun, or (for a call) done.
    Accept(Box<Reply>),
    /// Guest to host: it was not begun. Daemon to client, after an accept: it was lost. The channel is over.
    Refuse(Refusal),
    /// Bytes of a stream.
    Data(Stream, Bytes),
    /// The stream has ended.
    Eof(Stream),
    /// The consumer of the stream has room for that many more bytes.
    Credit(Stream, u32),
    /// Host to guest: change a running command.
    Control(Control),
    /// Guest to host: the command ended and its output has been sent. The channel is over.
    Exit(ExitStatus),
    /// Host to guest: nobody wants this channel any more; its command's process group is killed. The guest answers
    /// [`Body::Exit`] as always.
    Close,
}

/// Bytes that are no frame. A stream is not usable after it.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message says what it is")]
pub enum DecodeError {
    #[error("a frame of {0} bytes is longer than the {MAX_PAYLOAD} allowed")]
    TooLong(u32),
    #[error("unknown frame kind {0}")]
    Kind(u8),
    #[error("a frame of kind {kind} has a payload that does not fit it")]
    Payload { kind: u8 },
    #[error("a frame of kind {kind} does not parse")]
    Json { kind: u8, source: serde_json::Error },
}

mod kind {
    pub(super) const OPEN: u8 = 1;
    pub(super) const ACCEPT: u8 = 2;
    pub(super) const REFUSE: u8 = 3;
    pub(super) const DATA: u8 = 4;
    pub(super) const EOF: u8 = 5;
    pub(super) const CREDIT: u8 = 6;
    pub(super) const CONTROL: u8 = 7;
    pub(super) const EXIT: u8 = 8;
    pub(super) const CLOSE: u8 = 9;
}

impl Stream {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Stdin, Self::Stdout, Self::Stderr].into_iter().find(|s| *s as u8 == byte)
    }
}

impl Frame {
    /// Appends the frame's bytes to `out`.
    ///
    /// # Errors
    /// [`DecodeError::TooLong`] when a request or data is larger than a frame may be; nothing is appended then.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), DecodeError> {
        let start = out.len();
        out.put_u32_le(0);
        out.put_u32_le(self.channel);
        out.put_u8(0);
        let kind = self.body.encode_payload(out);
        let length = out.len() - start - HEADER_LEN;
        let (Ok(kind), true) = (kind, length <= MAX_PAYLOAD) else {
            out.truncate(start);
            return Err(DecodeError::TooLong(u32::try_from(length).unwrap_or(u32::MAX)));
        };
        let header = &mut out[start..start + HEADER_LEN];
        header[..4].copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        header[8] = kind;
        Ok(())
    }

    /// The frame's bytes on their own.
    ///
    /// # Errors
    /// As [`Frame::encode`].
    pub fn to_bytes(&self) -> Result<Bytes, DecodeError> {
        let mut out = BytesMut::new();
        self.encode(&mut out)?;
        Ok(out.freeze())
    }
}

impl Body {
    fn encode_payload(&self, out: &mut BytesMut) -> Result<u8, serde_json::Error> {
        Ok(match self {
            Self::Open(request) => {
                serde_json::to_writer(out.writer(), request)?;
                kind::OPEN
            }
            Self::Accept(reply) => {
                serde_json::to_writer(out.writer(), reply)?;
                kind::ACCEPT
            }
            Self::Refuse(refusal) => {
                serde_json::to_writer(out.writer(), refusal)?;
                kind::REFUSE
            }
            Self::Data(stream, data) => {
                out.put_u8(*stream as u8);
                out.put_slice(data);
                kind::DATA
            }
            Self::Eof(stream) => {
                out.put_u8(*stream as u8);
                kind::EOF
            }
            Self::Credit(stream, bytes) => {
                out.put_u8(*stream as u8);
                out.put_u32_le(*bytes);
                kind::CREDIT
            }
            Self::Control(control) => {
                serde_json::to_writer(out.writer(), control)?;
                kind::CONTROL
            }
            Self::Exit(status) => {
                serde_json::to_writer(out.writer(), status)?;
                kind::EXIT
            }
            Self::Close => kind::CLOSE,
        })
    }

    fn decode(kind: u8, mut payload: Bytes) -> Result<Self, DecodeError> {
        fn json<T: serde::de::DeserializeOwned>(kind: u8, payload: &[u8]) -> Result<T, DecodeError> {
            serde_json::from_slice(payload).map_err(|source| DecodeError::Json { kind, source })
        }
        let misfit = || DecodeError::Payload { kind };
        let stream = |payload: &mut Bytes| match payload.is_empty() {
            true => Err(misfit()),
            false => Stream::from_byte(payload.get_u8()).ok_or_else(misfit),
        };
        Ok(match kind {
            kind::OPEN => Self::Open(json(kind, &payload)?),
            kind::ACCEPT => Self::Accept(json(kind, &payload)?),
            kind::REFUSE => Self::Refuse(json(kind, &payload)?),
            kind::DATA => Self::Data(stream(&mut payload)?, payload),
            kind::EOF if payload.len() == 1 => Self::Eof(stream(&mut payload)?),
            kind::CREDIT if payload.len() == 5 => Self::Credit(stream(&mut payload)?, payload.get_u32_le()),
            kind::CONTROL => Self::Control(json(kind, &payload)?),
            kind::EXIT => Self::Exit(json(kind, &payload)?),
            kind::CLOSE if payload.is_empty() => Self::Close,
            kind::EOF | kind::CREDIT | kind::CLOSE => return Err(misfit()),
            other => return Err(DecodeError::Kind(other)),
        })
    }
}

/// Turns bytes, in whatever pieces they come, into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
}

impl Decoder {
    /// Takes in bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, or none until more bytes come.
    ///
    /// # Errors
    /// When the peer does not speak the protocol; the decoder is of no further use.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, DecodeError> {
        let Some(mut header) = self.buffer.get(..HEADER_LEN) else { return Ok(None) };
        let length = header.get_u32_le();
        let channel = header.get_u32_le();
        let kind = header.get_u8();
        let needed = length as usize;
        if needed > MAX_PAYLOAD {
            return Err(DecodeError::TooLong(length));
        }
        if self.buffer.len() < HEADER_LEN + needed {
            return Ok(None);
        }
        self.buffer.advance(HEADER_LEN);
        let payload = self.buffer.split_to(needed).freeze();
        Body::decode(kind, payload).map(|body| Some(Frame { channel, body }))
    }

    /// The bytes that are not part of a frame yet. After an error: where the next session's greeting may be.
    pub fn into_rest(self) -> BytesMut {
        self.buffer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::guest::{Exec, Signal, TtySize};
    use proptest::prelude::*;

    fn samples() -> Vec<Frame> {
        let exec = Exec { argv: vec!["true".into()], tty: Some(TtySize { rows: 24, cols: 80 }), ..Exec::default() };
        [
            Body::Open(Box::new(Request::Exec(exec))),
            Body::Accept(Box::new(Reply::Started { pid: 7 })),
            Body::Refuse(Refusal::UnknownUser { user: "nobody2".into() }),
            Body::Data(Stream::Stdout, Bytes::from_static(b"hello")),
            Body::Eof(Stream::Stdin),
            Body::Credit(Stream::Stderr, 4096),
            Body::Control(Control::Signal(Signal(2))),
            Body::Exit(ExitStatus::Code(37)),
            Body::Close,
        ]
        .into_iter()
        .enumerate()
        .map(|(i, body)| Frame { channel: u32::try_from(i).unwrap_or(0), body })
        .collect()
    }

    #[test]
    fn every_kind_round_trips_in_pieces_of_any_size() {
        let frames = samples();
        let mut bytes = BytesMut::new();
        for frame in &frames {
            frame.encode(&mut bytes).expect("samples are small");
        }
        for piece in 1..bytes.len() {
            let mut decoder = Decoder::default();
            let mut seen = Vec::new();
            for chunk in bytes.chunks(piece) {
                decoder.feed(chunk);
                while let Some(frame) = decoder.next_frame().expect("what we encoded") {
                    seen.push(frame);
                }
            }
            assert_eq!(seen, frames, "in pieces of {piece}");
        }
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused_on_both_sides() {
        let frame = Frame { channel: 1, body: Body::Data(Stream::Stdin, Bytes::from(vec![0; MAX_PAYLOAD])) };
        let mut out = BytesMut::from(&b"before"[..]);
        assert!(matches!(frame.encode(&mut out), Err(DecodeError::TooLong(_))));
        assert_eq!(&out[..], b"before");
        let mut decoder = Decoder::default();
        decoder.feed(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 4]);
        assert!(matches!(decoder.next_frame(), Err(DecodeError::TooLong(u32::MAX))));
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes: Vec<u8>) {
            let mut decoder = Decoder::default();
            decoder.feed(&bytes);
            while let Ok(Some(_)) = decoder.next_frame() {}
        }

        #[test]
        fn any_body_round_trips(channel: u32, which in 0_u8..3, data in prop::collection::vec(any::<u8>(), 0..MAX_DATA), credit: u32) {
            let stream = Stream::from_byte(which).expect("one of three");
            for body in [Body::Data(stream, data.clone().into()), Body::Eof(stream), Body::Credit(stream, credit)] {
                let frame = Frame { channel, body };
                let mut decoder = Decoder::default();
                decoder.feed(&frame.to_bytes().expect("it is short enough"));
                prop_assert_eq!(decoder.next_frame().expect("what we encoded"), Some(frame));
                prop_assert!(decoder.into_rest().is_empty());
            }
        }

        /// What is changed on the way is another frame or an error, and a decoder that is asked for every frame holds no more
        /// than one.
        #[test]
        fn changed_frames_never_panic_and_are_not_hoarded(
            changes in prop::collection::vec((any::<usize>(), any::<u8>()), 0..6), piece in 1_usize..64,
        ) {
            let mut bytes = BytesMut::new();
            for frame in samples() {
                frame.encode(&mut bytes).expect("samples are small");
            }
            let length = bytes.len();
            for (at, byte) in changes {
                bytes[at % length] = byte;
            }
            let mut decoder = Decoder::default();
            'stream: for chunk in bytes.chunks(piece) {
                decoder.feed(chunk);
                loop {
                    match decoder.next_frame() {
                        Ok(Some(frame)) => prop_assert!(!matches!(frame.body, Body::Data(_, data) if data.len() > MAX_PAYLOAD)),
                        Ok(None) => break,
                        Err(_) => break 'stream,
                    }
                }
                prop_assert!(decoder.buffer.len() < HEADER_LEN + MAX_PAYLOAD);
            }
        }

        /// Headers that announce anything, with whatever JSON behind them.
        #[test]
        fn any_header_with_any_json(kind: u8, announced in 0_u32..300, text in "[\\[\\]{}\",:a-z0-9 -]{0,200}", open in 0_usize..200) {
            let text = format!("{}{text}", "[".repeat(open));
            let mut bytes = announced.to_le_bytes().to_vec();
            bytes.extend(7_u32.to_le_bytes());
            bytes.push(kind % 12);
            bytes.extend(text.as_bytes());
            let mut decoder = Decoder::default();
            decoder.feed(&bytes);
            while let Ok(Some(_)) = decoder.next_frame() {}
        }
    }
}
