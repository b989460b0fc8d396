//! The archive format that the kernel unpacks as its first root file system ("newc").
//!
//! Owns: writing it, uncompressed: under software emulation, unpacking a compressed one costs more than reading a plain one.
//! Must not: know what goes in. Equal calls give equal bytes: times are zero, inode numbers count up.

use std::io::{self, Write};

/// Writes one archive.
pub(crate) struct Archive<W> {
    out: W,
    entries: u32,
}

/// A name or length that the format's fields cannot hold.
fn too_large() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "too large for a cpio archive")
}

struct Entry<'a> {
    name: &'a str,
    mode: u32,
    device: (u32, u32),
    content: &'a [u8],
}

impl<W: Write> Archive<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, entries: 0 }
    }

    /// A folder; parents come before what is in them.
    pub(crate) fn folder(&mut self, name: &str) -> io::Result<()> {
        self.entry(&Entry { name, mode: 0o040_755, device: (0, 0), content: &[] })
    }

    /// A regular file with these permission bits.
    pub(crate) fn file(&mut self, name: &str, permissions: u32, content: &[u8]) -> io::Result<()> {
        self.entry(&Entry { name, mode: 0o100_000 | permissions, device: (0, 0), content })
    }

    /// A character device.
    pub(crate) fn character_device(&mut self, name: &str, permissions: u32, device: (u32, u32)) -> io::Result<()> {
        self.entry(&Entry { name, mode: 0o020_000 | permissions, device, content: &[] })
    }

    /// Ends the archive and hands back what it was written to.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.entry(&Entry { name: "TRAILER!!!", mode: 0, device: (0, 0), content: &[] })?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn entry(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        let size = u32::try_from(entry.content.len()).map_err(|_| too_large())?;
        let name_size = u32::try_from(entry.name.len() + 1).map_err(|_| too_large())?;
        self.entries += 1;
        let links = if entry.mode & 0o170_000 == 0o040_000 { 2 } else { 1 };
        let fields =
            [self.entries, entry.mode, 0, 0, links, 0, size, 0, 0, entry.device.0, entry.device.1, name_size, 0];
        write!(self.out, "070701")?;
        for field in fields {
            write!(self.out, "{field:08x}")?;
        }
        self.out.write_all(entry.name.as_bytes())?;
        // The header is 110 bytes long; name with its NUL, and content, each end at a multiple of four.
        self.zeros(1 + padding(110 + entry.name.len() + 1))?;
        self.out.write_all(entry.content)?;
        self.zeros(padding(entry.content.len()))
    }

    fn zeros(&mut self, count: usize) -> io::Result<()> {
        self.out.write_all(&[0; 4][..count])
    }
}

fn padding(length: usize) -> usize {
    length.next_multiple_of(4) - length
}
