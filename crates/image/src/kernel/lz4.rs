//! The legacy LZ4 frame, which Linux uses for its own image.
//!
//! Owns: the framing (a magic, then blocks of at most 8 MiB plain, each behind its compressed length). Must not: decode
//! blocks itself (that is `lz4_flex`). The frame has no end mark and no checksum: it ends with its input.

use std::io::{self, Read};

const MAGIC: u32 = 0x184c_2102;
/// What a block may hold when plain, by the format.
const BLOCK_PLAIN: usize = 8 << 20;
/// What a block may hold when compressed: LZ4's worst case for a full block.
const BLOCK_COMPRESSED: usize = BLOCK_PLAIN + BLOCK_PLAIN / 255 + 16;

/// Reads the plain bytes of a legacy frame.
pub(crate) struct LegacyReader<R> {
    input: R,
    begun: bool,
    compressed: Vec<u8>,
    plain: Vec<u8>,
    /// The part of `plain` that was handed out or never filled.
    at: usize,
    end: usize,
}

fn corrupt(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl<R: Read> LegacyReader<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, begun: false, compressed: Vec::new(), plain: Vec::new(), at: 0, end: 0 }
    }

    /// The next little-endian word, or `None` at a clean end of input.
    fn word(&mut self) -> io::Result<Option<u32>> {
        let mut word = [0; 4];
        let mut have = 0;
        while have < word.len() {
            match self.input.read(&mut word[have..])? {
                0 if have == 0 => return Ok(None),
                0 => return Err(corrupt("the lz4 frame ends inside a block's length")),
                n => have += n,
            }
        }
        Ok(Some(u32::from_le_bytes(word)))
    }

    /// Decodes the next block; `false` at the end.
    fn fill(&mut self) -> io::Result<bool> {
        if !self.begun {
            if self.word()? != Some(MAGIC) {
                return Err(corrupt("no lz4 frame begins here"));
            }
            self.begun = true;
        }
        match self.word()? {
            None => Ok(false),
            Some(length) => self.block(length).map(|()| true),
        }
    }

    fn block(&mut self, length: u32) -> io::Result<()> {
        let length = usize::try_from(length).ok().filter(|l| (1..=BLOCK_COMPRESSED).contains(l));
        let length = length.ok_or_else(|| corrupt("an lz4 block's length is out of bounds"))?;
        self.compressed.resize(length, 0);
        self.input.read_exact(&mut self.compressed)?;
        self.plain.resize(BLOCK_PLAIN, 0);
        self.end = lz4_flex::block::decompress_into(&self.compressed, &mut self.plain)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.at = 0;
        Ok(())
    }
}

impl<R: Read> Read for LegacyReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.end {
            if !self.fill()? {
                return Ok(0);
            }
        }
        let n = out.len().min(self.end - self.at);
        out[..n].copy_from_slice(&self.plain[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}
