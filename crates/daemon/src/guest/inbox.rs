//! What the guest has sent on one channel and nobody has taken yet. Sans-IO.
//!
//! The guest decides what comes and how it is cut, so everything here is bounded whatever that is: data by the window, the
//! pieces of data by joining them, and all other frames by how often the protocol allows them.

use banger_model::wire::{
    Body, Stream,
    frame::{INITIAL_WINDOW, MAX_DATA, MAX_WINDOW},
};
use bytes::BytesMut;
use std::collections::VecDeque;

/// Pieces that keep their order. Beyond that, data joins the last piece of its stream: what two streams wrote at the same
/// time then comes in another order, but a guest that writes single bytes costs no more than its window.
const MAX_PIECES: usize = 256;

/// The guest sent something that the protocol does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Violation(pub(crate) &'static str);

#[derive(Debug)]
enum Piece {
    Data(Stream, BytesMut),
    Eof(Stream),
}

/// One channel's unread frames, and the account of both directions.
#[derive(Debug)]
pub(super) struct Inbox {
    answer: Option<Body>,
    answered: bool,
    pieces: VecDeque<Piece>,
    /// Stdout and stderr.
    ended: [bool; 2],
    /// What the guest may still send on stdout and stderr.
    window: [u32; 2],
    /// What the guest has room for on stdin.
    room: u32,
    /// The part of it that has not been told.
    credit: u32,
    last: Option<Body>,
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            answer: None,
            answered: false,
            pieces: VecDeque::new(),
            ended: [false; 2],
            window: [INITIAL_WINDOW; 2],
            room: INITIAL_WINDOW,
            credit: 0,
            last: None,
        }
    }
}

impl Inbox {
    /// Takes in a frame.
    pub(super) fn push(&mut self, body: Body) -> Result<(), Violation> {
        if self.last.is_some() {
            return Err(Violation("a frame after the last one"));
        }
        match body {
            Body::Accept(_) | Body::Refuse(_) if self.answered => Err(Violation("a second answer to one request")),
            Body::Accept(_) | Body::Refuse(_) => {
                self.answered = true;
                self.answer = Some(body);
                Ok(())
            }
            _ if !self.answered => Err(Violation("something else before its answer")),
            Body::Data(stream, data) => self.data(stream, &data),
            Body::Eof(stream) => {
                let ended = &mut self.ended[output(stream)?];
                if std::mem::replace(ended, true) {
                    return Err(Violation("a second end of one stream"));
                }
                self.pieces.push_back(Piece::Eof(stream));
                Ok(())
            }
            Body::Credit(Stream::Stdin, bytes) => {
                self.room = self
                    .room
                    .checked_add(bytes)
                    .filter(|room| *room <= MAX_WINDOW)
                    .ok_or(Violation("more credit than a window has room for"))?;
                self.credit = self.credit.saturating_add(bytes);
                Ok(())
            }
            Body::Exit(_) => {
                self.last = Some(body);
                Ok(())
            }
            Body::Credit(..) | Body::Open(_) | Body::Control(_) | Body::Close => {
                Err(Violation("a frame that only the host sends"))
            }
        }
    }

    fn data(&mut self, stream: Stream, data: &[u8]) -> Result<(), Violation> {
        let index = output(stream)?;
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        match self.window[index].checked_sub(length) {
            _ if self.ended[index] => return Err(Violation("data after the end of its stream")),
            _ if data.is_empty() => return Err(Violation("a piece of data without any")),
            None => return Err(Violation("more data than the window allows")),
            Some(left) => self.window[index] = left,
        }
        let full = self.pieces.len() >= MAX_PIECES;
        let mut latest = self.pieces.iter_mut().rev();
        let piece = if full { latest.find(|piece| piece.is_of(stream)) } else { latest.next() };
        match piece {
            // The bytes are copied: a small piece of a large read must not keep all of it.
            Some(Piece::Data(of, held)) if *of == stream && (full || held.len() + data.len() <= MAX_DATA) => {
                held.extend_from_slice(data);
            }
            _ => self.pieces.push_back(Piece::Data(stream, BytesMut::from(data))),
        }
        Ok(())
    }

    /// The next thing for whoever reads the channel.
    pub(super) fn pop(&mut self) -> Option<Body> {
        if let Some(answer) = self.answer.take() {
            return Some(answer);
        }
        if self.credit > 0 {
            return Some(Body::Credit(Stream::Stdin, std::mem::take(&mut self.credit)));
        }
        match self.pieces.front_mut() {
            Some(Piece::Data(stream, held)) if held.len() > MAX_DATA => {
                Some(Body::Data(*stream, held.split_to(MAX_DATA).freeze()))
            }
            Some(_) => self.pieces.pop_front().map(|piece| match piece {
                Piece::Data(stream, held) => Body::Data(stream, held.freeze()),
                Piece::Eof(stream) => Body::Eof(stream),
            }),
            None => self.last.clone(),
        }
    }

    /// The consumer of an output has room for more.
    pub(super) fn widen(&mut self, stream: Stream, bytes: u32) -> Result<(), Violation> {
        let window = &mut self.window[output(stream)?];
        *window = window
            .checked_add(bytes)
            .filter(|window| *window <= MAX_WINDOW)
            .ok_or(Violation("more credit than a window has room for"))?;
        Ok(())
    }

    /// Bytes of stdin are on their way to the guest.
    pub(super) fn spend(&mut self, bytes: usize) -> Result<(), Violation> {
        let left = u32::try_from(bytes).ok().and_then(|bytes| self.room.checked_sub(bytes));
        self.room = left.ok_or(Violation("more data than the window allows"))?;
        Ok(())
    }

    /// How many bytes of stdin the guest has room for.
    pub(super) fn room(&self) -> u32 {
        self.room
    }
}

impl Piece {
    fn is_of(&self, wanted: Stream) -> bool {
        matches!(self, Self::Data(stream, _) if *stream == wanted)
    }
}

fn output(stream: Stream) -> Result<usize, Violation> {
    match stream {
        Stream::Stdout => Ok(0),
        Stream::Stderr => Ok(1),
        Stream::Stdin => Err(Violation("stdin in the wrong direction")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_model::wire::guest::{ExitStatus, Reply};
    use bytes::Bytes;
    use proptest::prelude::*;

    fn begun() -> Inbox {
        let mut inbox = Inbox::default();
        inbox.push(Body::Accept(Box::new(Reply::Started { pid: 1 }))).unwrap();
        inbox.pop().unwrap();
        inbox
    }

    fn data(stream: Stream, length: usize) -> Body {
        Body::Data(stream, Bytes::from(vec![stream as u8; length]))
    }

    fn drain(inbox: &mut Inbox) -> Vec<Body> {
        let mut all = Vec::new();
        while let Some(body) = inbox.pop() {
            let last = matches!(body, Body::Exit(_));
            all.push(body);
            if last {
                break;
            }
        }
        all
    }

    #[test]
    fn everything_comes_in_order_and_the_exit_last() {
        let mut inbox = begun();
        for body in
            [data(Stream::Stdout, 2), data(Stream::Stdout, 1), data(Stream::Stderr, 1), Body::Eof(Stream::Stdout)]
        {
            inbox.push(body).unwrap();
        }
        inbox.push(Body::Exit(ExitStatus::Code(3))).unwrap();
        let expected = [
            data(Stream::Stdout, 3),
            data(Stream::Stderr, 1),
            Body::Eof(Stream::Stdout),
            Body::Exit(ExitStatus::Code(3)),
        ];
        assert_eq!(drain(&mut inbox), expected);
    }

    #[test]
    fn what_the_protocol_forbids_is_refused() {
        let answer = || Body::Accept(Box::new(Reply::Done));
        let wide = usize::try_from(INITIAL_WINDOW).unwrap();
        assert!(Inbox::default().push(data(Stream::Stdout, 1)).is_err());
        for forbidden in [
            vec![answer()],
            vec![Body::Close],
            vec![data(Stream::Stdin, 1)],
            vec![data(Stream::Stdout, 0)],
            vec![data(Stream::Stderr, wide), data(Stream::Stderr, 1)],
            vec![Body::Eof(Stream::Stdout), Body::Eof(Stream::Stdout)],
            vec![Body::Eof(Stream::Stdout), data(Stream::Stdout, 1)],
            vec![Body::Credit(Stream::Stdout, 1)],
            vec![Body::Credit(Stream::Stdin, u32::MAX)],
            vec![Body::Credit(Stream::Stdin, MAX_WINDOW - INITIAL_WINDOW), Body::Credit(Stream::Stdin, 1)],
            vec![Body::Exit(ExitStatus::Code(0)), Body::Exit(ExitStatus::Code(0))],
        ] {
            let mut inbox = begun();
            let results: Vec<_> = forbidden.iter().cloned().map(|body| inbox.push(body)).collect();
            let (last, before) = results.split_last().unwrap();
            assert!(last.is_err() && before.iter().all(Result::is_ok), "{forbidden:?}");
        }
    }

    #[test]
    fn single_bytes_cost_no_more_than_the_window() {
        let mut inbox = begun();
        for _ in 0..INITIAL_WINDOW {
            inbox.push(data(Stream::Stdout, 1)).unwrap();
            inbox.push(data(Stream::Stderr, 1)).unwrap();
        }
        assert!(inbox.pieces.len() <= MAX_PIECES);
        let mut seen = [0, 0];
        for body in drain(&mut inbox) {
            let Body::Data(stream, bytes) = body else { panic!("only data was sent") };
            assert!(bytes.len() <= MAX_DATA && bytes.iter().all(|byte| *byte == stream as u8));
            seen[output(stream).unwrap()] += bytes.len();
        }
        assert_eq!(seen, [usize::try_from(INITIAL_WINDOW).unwrap(); 2]);
    }

    proptest! {
        /// Each stream's bytes come out whole and in order, however they were cut and whenever they were read.
        #[test]
        fn streams_stay_whole(script in proptest::collection::vec((any::<bool>(), 1usize..3000, any::<bool>()), 0..400)) {
            let (mut inbox, mut sent, mut got) = (begun(), [Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
            let mut take = |inbox: &mut Inbox| {
                let Some(Body::Data(stream, bytes)) = inbox.pop() else { return false };
                let room = u32::try_from(bytes.len()).unwrap();
                inbox.widen(stream, room).unwrap();
                got[output(stream).unwrap()].extend_from_slice(&bytes);
                true
            };
            for (number, (err, length, read)) in script.into_iter().enumerate() {
                let stream = if err { Stream::Stderr } else { Stream::Stdout };
                let bytes = vec![u8::try_from(number % 251).unwrap(); length];
                while inbox.push(Body::Data(stream, Bytes::from(bytes.clone()))).is_err() {
                    prop_assert!(take(&mut inbox));
                }
                sent[output(stream).unwrap()].extend(bytes);
                if read {
                    take(&mut inbox);
                }
            }
            while take(&mut inbox) {}
            prop_assert_eq!(got, sent);
        }
    }
}
