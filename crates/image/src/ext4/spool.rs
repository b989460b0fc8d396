//! Where the contents of files wait until the file system around them is laid out.
//!
//! Contents arrive in one stream and the layout is known only after the last of them. So they go to a file first, each at
//! a multiple of the block size, with runs of zeros left out. [`Spool::plain`] packs them; [`Spool::in_image`] puts them
//! where the finished file system will have them if all goes as expected, so that nothing is copied later.

use super::{
    BLOCK, Ext4Error,
    place::Places,
    tree::{Content, Piece},
    writeback::Writeback,
};
use crate::effect;
use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// Zero blocks in a row that make a hole rather than stored zeros: 64 KiB. Shorter holes cost more in extents than they save.
const MIN_HOLE: u64 = 16;
/// Bytes gathered before they are written.
const BUFFER: usize = 1 << 20;

/// A file that takes in contents. It is removed when dropped, unless it became an image.
#[derive(Debug)]
pub struct Spool {
    file: File,
    path: PathBuf,
    places: Places,
    buffer: Vec<u8>,
    /// Where in the file the buffer begins.
    buffer_at: u64,
    stored: u64,
    /// Only for what will be an image: the rest is read back and thrown away.
    writeback: Option<Writeback>,
    keep: bool,
}

/// A file's contents on their way into the spool; see [`Spool::begin`].
#[derive(Debug, Default)]
pub struct Incoming {
    content: Content,
    /// A block that is not whole yet.
    partial: Vec<u8>,
    /// Zero blocks that were seen and not yet stored or skipped.
    zeros: u64,
}

impl Spool {
    /// A spool that packs contents one behind the other. `path` must be new.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn plain(path: &Path) -> Result<Self, Ext4Error> {
        Self::new(path, Places::unbounded())
    }

    /// A spool that means to become a file system of about `size` bytes by itself. `path` must be new.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn in_image(path: &Path, size: u64) -> Result<Self, Ext4Error> {
        let mut spool = Self::new(path, Places::in_image(size))?;
        spool.writeback = Some(Writeback::of(&spool.file).map_err(Ext4Error::io("write", path))?);
        Ok(spool)
    }

    fn new(path: &Path, places: Places) -> Result<Self, Ext4Error> {
        let file = effect::create(path).map_err(Ext4Error::io("make", path))?;
        Ok(Self {
            file,
            path: path.into(),
            places,
            buffer: Vec::new(),
            buffer_at: 0,
            stored: 0,
            writeback: None,
            keep: false,
        })
    }

    /// Bytes stored so far, holes not counted.
    pub fn stored(&self) -> u64 {
        self.stored
    }

    /// Begins to take in a file. Files come one at a time.
    pub fn begin(&self) -> Incoming {
        Incoming::default()
    }

    /// Takes in the next bytes of a file.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn push(&mut self, incoming: &mut Incoming, mut bytes: &[u8]) -> Result<(), Ext4Error> {
        incoming.content.size += bytes.len() as u64;
        if !incoming.partial.is_empty() {
            let wanted = (BLOCK - incoming.partial.len()).min(bytes.len());
            incoming.partial.extend_from_slice(&bytes[..wanted]);
            bytes = &bytes[wanted..];
            if incoming.partial.len() < BLOCK {
                return Ok(());
            }
            let block = std::mem::take(&mut incoming.partial);
            self.push_blocks(incoming, &block)?;
            incoming.partial = block;
            incoming.partial.clear();
        }
        let whole = bytes.len() - bytes.len() % BLOCK;
        self.push_blocks(incoming, &bytes[..whole])?;
        incoming.partial.extend_from_slice(&bytes[whole..]);
        Ok(())
    }

    /// Takes in zeros without anybody having to write them down.
    ///
    /// # Errors
    /// When bytes before them cannot be written.
    pub fn push_zeros(&mut self, incoming: &mut Incoming, mut count: u64) -> Result<(), Ext4Error> {
        const ZEROS: [u8; BLOCK] = [0; BLOCK];
        let partial = incoming.partial.len() as u64;
        if partial > 0 {
            let fill = count.min(BLOCK as u64 - partial);
            self.push(incoming, &ZEROS[..usize::try_from(fill).unwrap_or(BLOCK)])?;
            count -= fill;
        }
        incoming.zeros += count / BLOCK as u64;
        incoming.content.size += count - count % BLOCK as u64;
        self.push(incoming, &ZEROS[..usize::try_from(count % BLOCK as u64).unwrap_or(0)])
    }

    fn push_blocks(&mut self, incoming: &mut Incoming, blocks: &[u8]) -> Result<(), Ext4Error> {
        let mut start = 0;
        for (index, block) in blocks.chunks_exact(BLOCK).enumerate() {
            let at = index * BLOCK;
            if is_zero(block) {
                self.store(incoming, &blocks[start..at])?;
                incoming.zeros += 1;
                start = at + BLOCK;
            }
        }
        self.store(incoming, &blocks[start..])
    }

    /// Stores bytes behind the zeros that came before them. Whole blocks, but for the last bytes of a file.
    fn store(&mut self, incoming: &mut Incoming, bytes: &[u8]) -> Result<(), Ext4Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        let zeros = std::mem::take(&mut incoming.zeros);
        let stored_blocks = (bytes.len() as u64).div_ceil(BLOCK as u64);
        let pieces = &mut incoming.content.pieces;
        let end = pieces.last().map_or(0, |piece| piece.offset + piece.length);
        if zeros >= MIN_HOLE || pieces.is_empty() {
            // A file that begins with few zeros begins with a hole all the same: it costs no extent.
            pieces.push(Piece { offset: end + zeros * BLOCK as u64, length: 0, at: 0 });
            return self.append(incoming, bytes, stored_blocks, true);
        }
        for _ in 0..zeros {
            self.append(incoming, &[0; BLOCK], 1, false)?;
        }
        self.append(incoming, bytes, stored_blocks, false)
    }

    /// Puts bytes at the next free places and makes the last piece, or further ones, cover them.
    fn append(
        &mut self,
        incoming: &mut Incoming,
        mut bytes: &[u8],
        mut blocks: u64,
        mut fresh: bool,
    ) -> Result<(), Ext4Error> {
        while blocks > 0 {
            let (at, run) = self.places.take(blocks);
            let length = usize::try_from(run * BLOCK as u64).unwrap_or(usize::MAX).min(bytes.len());
            let pieces = &mut incoming.content.pieces;
            match pieces.last_mut() {
                Some(last) if fresh => {
                    last.at = at;
                    last.length = length as u64;
                }
                Some(last) if last.at + last.length == at => last.length += length as u64,
                last => {
                    let offset = last.map_or(0, |last| last.offset + last.length);
                    pieces.push(Piece { offset, length: length as u64, at });
                }
            }
            fresh = false;
            self.write(at, &bytes[..length])?;
            bytes = &bytes[length..];
            blocks -= run;
        }
        Ok(())
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), Ext4Error> {
        let end = self.buffer_at + self.buffer.len() as u64;
        let gap = at.checked_sub(end).and_then(|gap| usize::try_from(gap).ok());
        match gap {
            // What pads the last block of the file before is written with it.
            Some(gap) if gap < BLOCK && self.buffer.len() + gap + bytes.len() <= BUFFER => {
                self.buffer.resize(self.buffer.len() + gap, 0);
                self.buffer.extend_from_slice(bytes);
            }
            _ => {
                self.flush()?;
                self.buffer_at = at;
                if bytes.len() >= BUFFER / 2 {
                    effect::write_at(&self.file, bytes, at).map_err(Ext4Error::io("write", &self.path))?;
                    self.buffer_at += bytes.len() as u64;
                } else {
                    self.buffer.extend_from_slice(bytes);
                }
            }
        }
        self.stored += bytes.len() as u64;
        if let Some(writeback) = &mut self.writeback {
            writeback.wrote(bytes.len() as u64);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Ext4Error> {
        effect::write_at(&self.file, &self.buffer, self.buffer_at).map_err(Ext4Error::io("write", &self.path))?;
        self.buffer_at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Ends a file.
    ///
    /// # Errors
    /// When its last bytes cannot be written.
    pub fn end(&mut self, mut incoming: Incoming) -> Result<Content, Ext4Error> {
        let tail = std::mem::take(&mut incoming.partial);
        if !is_zero(&tail) {
            self.store(&mut incoming, &tail)?;
        }
        self.places.file_ends(&incoming.content);
        Ok(incoming.content)
    }

    /// Takes in a whole file.
    ///
    /// # Errors
    /// When `reader` fails or the bytes cannot be written.
    pub fn append_all(&mut self, reader: &mut impl Read) -> Result<Content, Ext4Error> {
        let mut incoming = self.begin();
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return self.end(incoming),
                Ok(count) => self.push(&mut incoming, &buffer[..count])?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Ext4Error::Source(source)),
            }
        }
    }

    /// Reads a file's contents back, holes as zeros.
    ///
    /// # Errors
    /// When buffered bytes cannot be written first.
    pub fn reader<'a>(&'a mut self, content: &'a Content) -> Result<ContentReader<'a>, Ext4Error> {
        self.flush()?;
        Ok(ContentReader::new(&self.file, content))
    }

    /// Everything that was taken in, in the file and no longer in memory.
    pub(super) fn finish(&mut self) -> Result<(&File, &Path, &Places), Ext4Error> {
        self.flush()?;
        if let Some(mut writeback) = self.writeback.take() {
            writeback.finish().map_err(Ext4Error::io("write", &self.path))?;
        }
        Ok((&self.file, &self.path, &self.places))
    }

    /// The file is somebody else's from now on.
    pub(super) fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if !self.keep {
            // Nothing can be done about a failure here; the folder around it is swept sooner or later.
            let _ = effect::remove(&self.path);
        }
    }
}

/// See [`Spool::reader`].
#[derive(Debug)]
pub struct ContentReader<'a> {
    file: &'a File,
    content: &'a Content,
    position: u64,
}

impl<'a> ContentReader<'a> {
    pub(super) fn new(file: &'a File, content: &'a Content) -> Self {
        Self { file, content, position: 0 }
    }

    /// How far it has read.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Goes on at `position`, or where it is if that is further.
    pub(super) fn skip_to(&mut self, position: u64) {
        self.position = self.position.max(position);
    }
}

impl Read for ContentReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.content.size - self.position;
        let limit = |length: u64| usize::try_from(length).unwrap_or(usize::MAX).min(buffer.len());
        let pieces = &self.content.pieces;
        let next = pieces.get(pieces.partition_point(|piece| piece.offset + piece.length <= self.position));
        let count = match next {
            Some(piece) if self.position >= piece.offset => {
                let inside = self.position - piece.offset;
                let count = limit(piece.length - inside);
                self.file.read_exact_at(&mut buffer[..count], piece.at + inside)?;
                count
            }
            hole => {
                let count = limit(hole.map_or(left, |piece| piece.offset - self.position));
                buffer[..count].fill(0);
                count
            }
        };
        self.position += count as u64;
        Ok(count)
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    // Short pieces leave early on real contents; within a piece there is no branch, so that it runs in wide registers.
    bytes.chunks(64).all(|piece| piece.iter().fold(0, |bits, byte| bits | byte) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spool() -> (tempfile::TempDir, Spool) {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::plain(&dir.path().join("spool")).unwrap();
        (dir, spool)
    }

    fn read_back(spool: &mut Spool, content: &Content) -> Vec<u8> {
        let mut bytes = Vec::new();
        spool.reader(content).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn long_runs_of_zeros_become_holes_and_short_ones_do_not() {
        let (_dir, mut spool) = spool();
        let mut bytes = vec![1; BLOCK];
        bytes.extend(vec![0; 15 * BLOCK]);
        bytes.extend(vec![2; BLOCK]);
        bytes.extend(vec![0; 16 * BLOCK]);
        bytes.extend([3; 5]);
        let content = spool.append_all(&mut &bytes[..]).unwrap();
        assert_eq!(
            content.pieces.iter().map(|p| (p.offset, p.length)).collect::<Vec<_>>(),
            [(0, 17 * BLOCK as u64), (33 * BLOCK as u64, 5)]
        );
        assert_eq!(read_back(&mut spool, &content), bytes);
    }

    #[test]
    fn a_hole_that_nobody_wrote_down_costs_nothing() {
        let (_dir, mut spool) = spool();
        let mut incoming = spool.begin();
        spool.push(&mut incoming, b"head").unwrap();
        spool.push_zeros(&mut incoming, 1 << 40).unwrap();
        spool.push(&mut incoming, b"tail").unwrap();
        let content = spool.end(incoming).unwrap();
        assert_eq!(content.size, (1 << 40) + 8);
        assert_eq!(spool.stored(), 2 * BLOCK as u64 - (BLOCK as u64 - 8));
    }

    proptest! {
        #[test]
        fn what_went_in_comes_out(files in prop::collection::vec(prop::collection::vec((0u8..3, 1usize..200_000), 0..6), 1..6), cut in 1usize..70_000) {
            let (_dir, mut spool) = spool();
            let mut kept = Vec::new();
            for runs in files {
                let bytes: Vec<u8> = runs.iter().flat_map(|(byte, count)| std::iter::repeat_n(*byte, *count)).collect();
                let mut incoming = spool.begin();
                for chunk in bytes.chunks(cut) {
                    spool.push(&mut incoming, chunk).unwrap();
                }
                kept.push((spool.end(incoming).unwrap(), bytes));
            }
            for (content, bytes) in kept {
                prop_assert!(content.pieces.iter().all(|p| p.at % BLOCK as u64 == 0 && p.offset % BLOCK as u64 == 0));
                prop_assert_eq!(content.size, bytes.len() as u64);
                prop_assert_eq!(read_back(&mut spool, &content), bytes);
            }
        }
    }
}
