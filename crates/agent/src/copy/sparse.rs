//! Files with holes.
//!
//! Owns: where a file's data lies, the old GNU form in which a tar tells it, and writing a file so that blocks of zeros
//! become holes.

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Seek as _, Write};
use std::os::unix::fs::FileExt as _;
use tar::{EntryType, GnuExtSparseHeader, Header};

/// Blocks of zeros of this size, in bytes, are left out: what file systems allocate by.
const BLOCK: usize = 4096;

/// A piece of a file that holds data: where, and how long.
pub(super) type Piece = (u64, u64);

/// The pieces of a file of `size` bytes; none when it has no holes worth telling.
pub(super) fn pieces(file: &File, size: u64) -> io::Result<Option<Vec<Piece>>> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) if start < size => start,
            // Only holes from here on; or a file system that knows nothing of holes.
            Ok(_) | Err(Errno::NXIO) => break,
            Err(_) => return Ok(None),
        };
        let end = seek(file, SeekFrom::Hole(start))?.min(size);
        pieces.push((start, end.saturating_sub(start)));
        at = end.max(start + 1);
    }
    seek(file, SeekFrom::Start(0))?;
    match pieces.as_slice() {
        [(0, length)] if *length == size => Ok(None),
        // Readers expect each piece but the last to be whole blocks of the tar's.
        pieces
            if pieces
                .iter()
                .any(|(start, length)| start % 512 != 0 || (length % 512 != 0 && start + length != size)) =>
        {
            Ok(None)
        }
        _ => Ok(Some(pieces)),
    }
}

/// Writes a file of `size` bytes with these pieces: `header`, which has all but its type and sizes, then what follows it.
pub(super) fn write(
    out: &mut impl Write,
    mut header: Header,
    file: &mut File,
    size: u64,
    pieces: &[Piece],
) -> io::Result<()> {
    let data: u64 = pieces.iter().map(|(_, length)| length).sum();
    // The file's end is told by an empty piece.
    let mut map = pieces.iter().copied().chain([(size, 0)]);
    header.set_entry_type(EntryType::GNUSparse);
    header.set_size(data);
    if let Some(gnu) = header.as_gnu_mut() {
        gnu.set_real_size(size);
        for (slot, (start, length)) in gnu.sparse.iter_mut().zip(&mut map) {
            slot.set_offset(start);
            slot.set_length(length);
        }
        gnu.set_is_extended(pieces.len() + 1 > gnu.sparse.len());
    }
    header.set_cksum();
    out.write_all(header.as_bytes())?;
    let mut map = pieces.iter().copied().chain([(size, 0)]).skip(4).peekable();
    while map.peek().is_some() {
        let mut more = GnuExtSparseHeader::new();
        for (slot, (start, length)) in more.sparse_mut().iter_mut().zip(map.by_ref().take(21)) {
            slot.set_offset(start);
            slot.set_length(length);
        }
        more.set_is_extended(map.peek().is_some());
        out.write_all(more.as_bytes())?;
    }
    for (start, length) in pieces {
        file.seek(io::SeekFrom::Start(*start))?;
        exactly(file, *length, out)?;
    }
    pad(out, data)
}

/// Sends `length` bytes of a file: what it no longer has is sent as zeros, what it has gained is left. Says whether it had
/// them.
pub(super) fn exactly(file: &mut File, length: u64, out: &mut impl Write) -> io::Result<bool> {
    let sent = io::copy(&mut file.take(length), out)?;
    io::copy(&mut io::repeat(0).take(length - sent), out)?;
    Ok(sent == length)
}

/// Fills up to a whole block of the tar's.
pub(super) fn pad(out: &mut impl Write, length: u64) -> io::Result<()> {
    let rest = length.next_multiple_of(512) - length;
    io::copy(&mut io::repeat(0).take(rest), out).map(drop)
}

/// Writes all of `content` to a new file from `from` on, blocks of zeros as holes. Returns how much it was.
pub(super) fn fill(file: &File, from: u64, content: &mut impl Read, buffer: &mut [u8]) -> Result<u64, Failed> {
    let mut at = from;
    loop {
        let filled = read_full(content, buffer).map_err(Failed::Read)?;
        if filled == 0 {
            return Ok(at - from);
        }
        let blocks: Vec<&[u8]> = buffer[..filled].chunks(BLOCK).collect();
        let mut start = 0;
        for run in blocks.chunk_by(|a, b| is_hole(a) == is_hole(b)) {
            let end = start + run.iter().map(|block| block.len()).sum::<usize>();
            if !is_hole(run[0]) {
                file.write_all_at(&buffer[start..end], at + start as u64).map_err(Failed::Write)?;
            }
            start = end;
        }
        at += filled as u64;
    }
}

fn is_hole(block: &[u8]) -> bool {
    block.len() == BLOCK && block.iter().all(|byte| *byte == 0)
}

/// On which side a copy of bytes failed.
#[derive(Debug)]
pub(super) enum Failed {
    /// They could not be had.
    Read(io::Error),
    /// They could not be put down.
    Write(io::Error),
}

fn read_full(content: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match content.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
