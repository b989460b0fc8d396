//! Reading a tar stream, entry by entry.
//!
//! Owns: the forms in which tars of our day come (ustar, GNU and pax: long names, large numbers, exact times, attributes, GNU's
//! old form of holes) and the bounds on what a stream may have us keep. Takes values as they are, binary ones included; what
//! they may do is for others to judge.

use super::CopyError;
use super::pax::Extras;
use super::sparse::Piece;
use rustix::fs::Timespec;
use std::io::{self, Read};
use tar::{EntryType, GnuExtSparseHeader, Header};

/// The most that goes before an entry's own header, in bytes: names and attributes. The kernel's limit for each is 64 KiB.
const LONGEST_PREFACE: u64 = 1 << 20;
/// The most pieces of data that a file with holes may have.
const MOST_PIECES: usize = 1 << 18;

/// Something that the tar holds.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) kind: EntryType,
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
    pub(super) mtime: Timespec,
    pub(super) device: (u32, u32),
    pub(super) extras: Extras,
    /// Length of the file in bytes.
    pub(super) size: u64,
    /// Where its data goes, if it has holes.
    pub(super) pieces: Option<Vec<Piece>>,
}

/// A stream and where it stands.
#[derive(Debug)]
pub(super) struct Reader<R> {
    stream: R,
    /// Bytes of the current entry's content that are still to come, and of its padding.
    content: u64,
    padding: u64,
}

impl<R: Read> Reader<R> {
    /// The beginning of `stream`.
    pub(super) fn new(stream: R) -> Self {
        Self { stream, content: 0, padding: 0 }
    }

    /// The next entry; what was not read of the last one's content is skipped.
    pub(super) fn next(&mut self) -> Result<Option<Item>, CopyError> {
        let (mut extras, mut long_path, mut long_link) = (Extras::default(), None, None);
        loop {
            self.skip()?;
            let mut header = Header::new_old();
            if !self.header(&mut header)? {
                return Ok(None);
            }
            let kind = header.entry_type();
            let stored = number(&header.as_old().size).and_then(|size| u64::try_from(size).ok());
            let stored = extras.size.filter(|_| !is_preface(kind)).or(stored).ok_or_else(|| malformed("a size"))?;
            self.content = stored;
            self.padding = stored.checked_next_multiple_of(512).ok_or_else(|| malformed("a size"))? - stored;
            match kind {
                EntryType::XHeader => {
                    extras = Extras::parse(&self.preface()?).ok_or_else(|| malformed("an extended header"))?
                }
                EntryType::XGlobalHeader => {}
                EntryType::GNULongName => long_path = Some(until_zero(self.preface()?)),
                EntryType::GNULongLink => long_link = Some(until_zero(self.preface()?)),
                _ => return self.item(&header, extras, long_path, long_link).map(Some),
            }
        }
    }

    fn item(
        &mut self,
        header: &Header,
        mut extras: Extras,
        long_path: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> Result<Item, CopyError> {
        let old = header.as_old();
        let kind = match header.entry_type() {
            // As tars of old have it.
            EntryType::Regular if header.path_bytes().ends_with(b"/") => EntryType::Directory,
            kind => kind,
        };
        let field = |field: &[u8], what| number(field).ok_or_else(|| malformed(what));
        let owner = |field: &[u8], exact: Option<u32>| {
            let said = number(field).and_then(|id| u32::try_from(id).ok());
            exact.or(said).ok_or_else(|| malformed("an owner"))
        };
        let device = |number: io::Result<Option<u32>>| number.ok().flatten().unwrap_or(0);
        let (size, pieces) = match kind {
            EntryType::GNUSparse => self.holes(header)?,
            _ => (self.content, None),
        };
        Ok(Item {
            kind,
            path: extras.path.take().or(long_path).unwrap_or_else(|| header.path_bytes().into_owned()),
            link: extras.link.take().or(long_link).unwrap_or_else(|| until_zero(old.linkname.to_vec())),
            mode: u32::try_from(field(&old.mode, "a mode")? & 0o7777).unwrap_or(0),
            owner: (owner(&old.uid, extras.uid)?, owner(&old.gid, extras.gid)?),
            mtime: match extras.mtime {
                Some(mtime) => mtime,
                None => Timespec { tv_sec: field(&old.mtime, "a time")?, tv_nsec: 0 },
            },
            device: (device(header.device_major()), device(header.device_minor())),
            extras,
            size,
            pieces,
        })
    }

    /// The map of a file with holes: its length and where its data goes.
    fn holes(&mut self, header: &Header) -> Result<(u64, Option<Vec<Piece>>), CopyError> {
        let gnu = header.as_gnu().ok_or_else(|| malformed("a file with holes"))?;
        let real_size = number(&gnu.realsize).and_then(|size| u64::try_from(size).ok());
        let mut pieces = Vec::new();
        let mut more = gnu.is_extended();
        add(&mut pieces, &gnu.sparse)?;
        while more {
            let mut next = GnuExtSparseHeader::new();
            self.stream.read_exact(next.as_mut_bytes()).map_err(CopyError::Tar)?;
            add(&mut pieces, next.sparse())?;
            more = next.is_extended();
        }
        let size = real_size.ok_or_else(|| malformed("a file with holes"))?;
        let mut end = 0;
        let mut data = 0_u64;
        for (start, length) in &pieces {
            let next = start.checked_add(*length).filter(|next| *start >= end && *next <= size);
            end = next.ok_or_else(|| malformed("a file with holes"))?;
            data += length;
        }
        match data == self.content {
            true => Ok((size, Some(pieces))),
            false => Err(malformed("a file with holes")),
        }
    }

    /// The next header that is not empty; none at the tar's end.
    fn header(&mut self, header: &mut Header) -> Result<bool, CopyError> {
        let block = header.as_mut_bytes();
        let mut filled = 0;
        while filled < block.len() {
            match self.stream.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(malformed("a header")),
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(CopyError::Tar(error)),
            }
        }
        if block.iter().all(|byte| *byte == 0) {
            return Ok(false);
        }
        let (before, rest) = block.split_at(148);
        let sum = before.iter().chain(&rest[8..]).map(|byte| u32::from(*byte)).sum::<u32>() + 8 * u32::from(b' ');
        match header.cksum() {
            Ok(said) if said == sum => Ok(true),
            _ => Err(malformed("a header")),
        }
    }

    fn preface(&mut self) -> Result<Vec<u8>, CopyError> {
        if self.content > LONGEST_PREFACE {
            return Err(malformed("an extended header"));
        }
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes).map_err(CopyError::Tar)?;
        Ok(bytes)
    }

    fn skip(&mut self) -> Result<(), CopyError> {
        let rest = self.content + self.padding;
        let skipped = io::copy(&mut self.stream.by_ref().take(rest), &mut io::sink()).map_err(CopyError::Tar)?;
        (self.content, self.padding) = (0, 0);
        if skipped == rest { Ok(()) } else { Err(malformed("an entry's content")) }
    }
}

/// The content of the current entry.
impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.stream.by_ref().take(self.content).read(buffer)?;
        self.content -= n as u64;
        Ok(n)
    }
}

fn is_preface(kind: EntryType) -> bool {
    matches!(kind, EntryType::XHeader | EntryType::XGlobalHeader | EntryType::GNULongName | EntryType::GNULongLink)
}

fn malformed(what: &str) -> CopyError {
    CopyError::Tar(io::Error::new(io::ErrorKind::InvalidData, format!("{what} is cut off or malformed")))
}

fn until_zero(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.truncate(length);
    bytes
}

fn add(pieces: &mut Vec<Piece>, slots: &[tar::GnuSparseHeader]) -> Result<(), CopyError> {
    for slot in slots.iter().filter(|slot| !slot.is_empty()) {
        let field = |field: &[u8]| number(field).and_then(|number| u64::try_from(number).ok());
        match (field(&slot.offset), field(&slot.numbytes)) {
            (Some(start), Some(length)) if pieces.len() < MOST_PIECES => pieces.push((start, length)),
            _ => return Err(malformed("a file with holes")),
        }
    }
    Ok(())
}

/// A number of a header: octal digits, or big-endian two's complement behind a first bit that says so.
fn number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        let start: i128 = if first & 0x40 != 0 { -1 } else { 0 };
        let digits = field[1..]
            .iter()
            .fold((start << 6) | i128::from(first & 0x3f), |number, byte| number << 8 | i128::from(*byte));
        return i64::try_from(digits).ok();
    }
    let text = str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    if text.is_empty() { Some(0) } else { i64::from_str_radix(text, 8).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_in_two_forms() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b" 644 \0\0\0"), Some(0o644));
        assert_eq!(number(&[0; 8]), Some(0));
        assert_eq!(number(b"not oct\0"), None);
        let mut large = [0; 12];
        large[0] = 0x80;
        large[4..].copy_from_slice(&(1_i64 << 40).to_be_bytes());
        assert_eq!(number(&large), Some(1 << 40));
        assert_eq!(number(&[0xff; 12]), Some(-1));
        let mut below = [0xff; 12];
        below[11] = 0xfb;
        assert_eq!(number(&below), Some(-5));
        let mut too_large = [0xff; 12];
        too_large[0] = 0xbf;
        assert_eq!(number(&too_large), None);
    }

    #[test]
    fn bytes_of_any_kind_never_panic() {
        // A fixed sequence: every run sees the same.
        let mut state = 1_u64;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        for _ in 0..2_000 {
            let mut header = Header::new_gnu();
            for byte in header.as_mut_bytes() {
                *byte = if next() < 128 { *byte } else { next() };
            }
            header.set_entry_type(EntryType::new(*b"0125xgLKSZ".get(usize::from(next()) % 10).unwrap_or(&b'0')));
            header.set_size(u64::from(next()));
            header.set_cksum();
            let mut bytes = header.as_bytes().to_vec();
            bytes.extend(std::iter::repeat_with(&mut next).take(1024));
            let mut reader = Reader::new(bytes.as_slice());
            while let Ok(Some(_)) = reader.next() {}
        }
    }
}
