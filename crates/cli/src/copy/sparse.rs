//! Files with holes on their way into a tar: where their data lies, and the old GNU form (GNU tar manual, "Old GNU Format")
//! in which a tar tells it.

use rustix::{
    fs::{SeekFrom, seek},
    io::Errno,
};
use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read},
};
use tar::{EntryType, GnuExtSparseHeader, Header};

/// What a tar is made of, in bytes.
pub(super) const BLOCK: u64 = 512;

/// A piece of a file that holds data: where, and how long.
pub(super) type Piece = (u64, u64);

/// The pieces of a file of `size` bytes; all of it in one where holes cannot be told, or are not worth it.
pub(super) fn pieces(file: &File, size: u64) -> io::Result<Vec<Piece>> {
    let whole = vec![(0, size)];
    if size == 0 {
        return Ok(whole);
    }
    let (mut pieces, mut at) = (Vec::new(), 0);
    while at < size {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) if start < size => start,
            // Only holes from here on.
            Ok(_) | Err(Errno::NXIO) => break,
            // A file system that knows nothing of holes.
            Err(_) => return Ok(whole),
        };
        let end = seek(file, SeekFrom::Hole(start))?.clamp(start + 1, size);
        pieces.push((start, end - start));
        at = end;
    }
    // Readers expect whole blocks of the tar's, but at the end.
    let odd = |(start, length): &Piece| start % BLOCK != 0 || (length % BLOCK != 0 && start + length != size);
    Ok(if pieces.iter().any(odd) { whole } else { pieces })
}

/// What comes before the data of a file of `size` bytes with these pieces. `header` has all but its type and sizes.
pub(super) fn head(mut header: Header, size: u64, pieces: &[Piece]) -> Vec<u8> {
    // The file's end is told by an empty piece.
    let map: Vec<Piece> = pieces.iter().copied().chain([(size, 0)]).collect();
    header.set_entry_type(EntryType::GNUSparse);
    header.set_size(pieces.iter().map(|(_, length)| length).sum());
    let mut rest = map.as_slice();
    if let Some(gnu) = header.as_gnu_mut() {
        gnu.set_real_size(size);
        let (first, others) = rest.split_at(rest.len().min(gnu.sparse.len()));
        for (slot, (start, length)) in gnu.sparse.iter_mut().zip(first) {
            slot.set_offset(*start);
            slot.set_length(*length);
        }
        gnu.set_is_extended(!others.is_empty());
        rest = others;
    }
    header.set_cksum();
    let mut head = header.as_bytes().to_vec();
    while !rest.is_empty() {
        let mut more = GnuExtSparseHeader::new();
        let (first, others) = rest.split_at(rest.len().min(more.sparse().len()));
        for (slot, (start, length)) in more.sparse_mut().iter_mut().zip(first) {
            slot.set_offset(*start);
            slot.set_length(*length);
        }
        more.set_is_extended(!others.is_empty());
        head.extend_from_slice(more.as_bytes());
        rest = others;
    }
    head
}

/// What lies in these pieces of a file, one behind the other, telling its own errors from the tar's.
pub(super) struct Data {
    file: File,
    /// What is still to come.
    pieces: VecDeque<Piece>,
    /// Why it could not be read.
    pub(super) failed: Option<io::Error>,
}

impl Data {
    pub(super) fn new(file: File, pieces: Vec<Piece>) -> Self {
        Self { file, pieces: pieces.into(), failed: None }
    }

    /// Bytes that are still to come.
    pub(super) fn left(&self) -> u64 {
        self.pieces.iter().map(|(_, length)| length).sum()
    }

    fn read_on(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.pieces.front().is_some_and(|(_, length)| *length == 0) {
            self.pieces.pop_front();
        }
        let Some((at, left)) = self.pieces.front_mut() else { return Ok(0) };
        let most = out.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        let read = rustix::io::pread(&self.file, &mut out[..most], *at)?;
        let moved = u64::try_from(read).unwrap_or(u64::MAX);
        (*at, *left) = (at.saturating_add(moved), left.saturating_sub(moved));
        Ok(read)
    }
}

impl Read for &mut Data {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.read_on(out).inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                self.failed = Some(io::Error::from(error.kind()));
            }
        })
    }
}
