//! Writing a laid-out file system's own blocks into a file.

use crate::effect;
use mkext4::RegionSink;
use std::{fs::File, io};

/// Bytes gathered before they are written.
const BUFFER: usize = 1 << 20;

/// Gathers neighbouring blocks; zeros stay holes. What is in the buffer is written by [`Self::flush`].
#[derive(Debug)]
pub(crate) struct Sink<'f> {
    file: &'f File,
    buffer: Vec<u8>,
    /// Where in the file the buffer begins.
    at: u64,
}

impl<'f> Sink<'f> {
    /// Writes to a file that has only zeros where the file system has zeros.
    pub(crate) fn new(file: &'f File) -> Self {
        Self { file, buffer: Vec::new(), at: 0 }
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        effect::write_at(self.file, &self.buffer, self.at)?;
        self.buffer.clear();
        Ok(())
    }
}

impl RegionSink for Sink<'_> {
    fn data(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if offset != self.at + self.buffer.len() as u64 || self.buffer.len() + bytes.len() > BUFFER {
            self.flush()?;
            self.at = offset;
        }
        if bytes.len() >= BUFFER / 2 {
            effect::write_at(self.file, bytes, offset)?;
            self.at = offset + bytes.len() as u64;
            return Ok(());
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn zeros(&mut self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }
}
