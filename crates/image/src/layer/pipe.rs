//! Bytes made on one thread and used on another.
//!
//! Owns: a row of buffers between the two, of a bounded number, used again and again. Several streams can follow each other on
//! one pipe, so that who makes them need not wait for who uses them.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

/// The end that bytes are put into. Dropping it before [`Self::end`] breaks the pipe.
#[derive(Debug)]
pub(super) struct PipeWriter {
    full: SyncSender<io::Result<Chunk>>,
    free: Receiver<Vec<u8>>,
    size: usize,
}

/// The end that bytes come out of. Dropping it makes the writer fail.
#[derive(Debug)]
pub(super) struct PipeReader {
    full: Receiver<io::Result<Chunk>>,
    free: Sender<Vec<u8>>,
    current: Chunk,
    at: usize,
    ended: bool,
}

/// Bytes, or with none of them the end of a stream.
#[derive(Debug, Default)]
struct Chunk {
    buffer: Vec<u8>,
    length: usize,
}

/// A pipe of at most `depth` waiting buffers of `size` bytes each; one more is at either end.
pub(super) fn pipe(size: usize, depth: usize) -> (PipeWriter, PipeReader) {
    let (full_in, full_out) = sync_channel(depth);
    let (free_in, free_out) = channel();
    let writer = PipeWriter { full: full_in, free: free_out, size };
    (writer, PipeReader { full: full_out, free: free_in, current: Chunk::default(), at: 0, ended: false })
}

impl PipeWriter {
    /// Passes on everything that `reader` has. Says whether the other end still listens.
    ///
    /// # Errors
    /// The reader's own.
    pub(super) fn pass(&self, reader: &mut impl Read) -> io::Result<bool> {
        loop {
            let mut buffer = self.free.try_recv().unwrap_or_else(|_| vec![0; self.size]);
            let mut length = 0;
            while length < buffer.len() {
                match reader.read(&mut buffer[length..]) {
                    Ok(0) => break,
                    Ok(count) => length += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            let last = length < buffer.len();
            if length > 0 && self.full.send(Ok(Chunk { buffer, length })).is_err() {
                return Ok(false);
            }
            if last {
                return Ok(true);
            }
        }
    }

    /// Ends a stream. Says whether the other end still listens.
    pub(super) fn end(&self) -> bool {
        self.full.send(Ok(Chunk::default())).is_ok()
    }

    /// Ends the pipe with an error.
    pub(super) fn fail(self, error: io::Error) {
        // Who does not listen does not want to know.
        let _ = self.full.send(Err(error));
    }
}

impl PipeReader {
    /// Goes on to the next stream, after [`BufRead::fill_buf`] has told the end of one.
    pub(super) fn next_stream(&mut self) {
        self.ended = false;
    }

    /// Bytes that were received and not yet used.
    pub(super) fn buffered(&self) -> u64 {
        (self.current.length - self.at) as u64
    }

    /// Whether the next [`BufRead::fill_buf`] brings bytes that nobody has seen.
    pub(super) fn is_empty(&self) -> bool {
        self.at == self.current.length
    }

    /// Reads to the end of the stream.
    ///
    /// # Errors
    /// The writer's.
    pub(super) fn drain(&mut self) -> io::Result<()> {
        while let length @ 1.. = self.fill_buf()?.len() {
            self.consume(length);
        }
        Ok(())
    }
}

impl BufRead for PipeReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.current.length && !self.ended {
            let used = std::mem::take(&mut self.current);
            self.at = 0;
            if !used.buffer.is_empty() {
                // The writer may be done already.
                let _ = self.free.send(used.buffer);
            }
            self.current = self.full.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))??;
            self.ended = self.current.length == 0;
        }
        Ok(&self.current.buffer[self.at..self.current.length])
    }

    fn consume(&mut self, count: usize) {
        self.at = (self.at + count).min(self.current.length);
    }
}

/// [`Read::read`] for what is a [`BufRead`] by nature.
pub(super) fn read_buffered(source: &mut impl BufRead, buffer: &mut [u8]) -> io::Result<usize> {
    let bytes = source.fill_buf()?;
    let count = bytes.len().min(buffer.len());
    buffer[..count].copy_from_slice(&bytes[..count]);
    source.consume(count);
    Ok(count)
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_follow_each_other() {
        let (writer, mut reader) = pipe(4, 2);
        let thread = std::thread::spawn(move || {
            for text in ["0123456789", "", "abcd"] {
                assert!(writer.pass(&mut text.as_bytes()).unwrap());
                assert!(writer.end());
            }
        });
        for expected in ["0123456789", "", "abcd"] {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            assert_eq!(text, expected);
            reader.next_stream();
        }
        thread.join().unwrap();
    }

    #[test]
    fn a_writer_that_vanishes_is_no_end() {
        let (writer, mut reader) = pipe(4, 2);
        writer.pass(&mut &b"01"[..]).unwrap();
        drop(writer);
        assert_eq!(reader.read(&mut [0; 8]).unwrap(), 2);
        assert_eq!(reader.read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_writer_learns_that_nobody_listens() {
        let (writer, reader) = pipe(4, 2);
        drop(reader);
        assert!(!writer.pass(&mut &b"01"[..]).unwrap());
    }
}
