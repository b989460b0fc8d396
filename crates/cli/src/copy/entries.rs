//! Reading a hostile tar, entry by entry, within bounds.
//!
//! Long names, the extended headers of POSIX (pax) and the maps of files with holes come in any size; the tar crate's reader
//! would take all of them into memory, so only its headers are used here, and the rest is read up to a bound. Formats:
//! POSIX.1-2017 `pax`, "ustar Interchange Format" and "pax Interchange Format"; GNU tar manual, "Basic Tar Format" for types
//! `L`, `K` and `S`.

use super::CopyError;
use std::{
    ffi::{OsStr, OsString},
    io::{self, Read},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Component, Path},
};
use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header, PaxExtensions};

/// What a tar is made of, in bytes.
const BLOCK: usize = 512;
/// The longest extended header that is read, in bytes: names of Linux's longest, and all attributes that a file can have.
const MAX_EXTENSION: u64 = 1 << 20;
/// The most pieces that a file with holes may have: 16 MiB in memory.
const MAX_PIECES: usize = 1 << 20;
/// The deepest tree that is made. Each level holds a descriptor while its entries come.
const MAX_DEPTH: usize = 256;

/// A point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Time {
    pub(super) seconds: i64,
    pub(super) nanoseconds: u32,
}

/// What a tar says of an entry, safe to follow: all names are relative and without `..`.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) kind: EntryType,
    /// The parts of its path; empty for the top itself where that is called `.`.
    pub(super) path: Vec<OsString>,
    /// As sent, for messages.
    pub(super) shown: String,
    /// Where a symbolic or hard link points to, as sent.
    pub(super) link: OsString,
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
    pub(super) modified: Time,
    pub(super) device: (u32, u32),
    /// Bytes of contents in the tar.
    pub(super) size: u64,
    /// Where they lie in a file with holes.
    pub(super) pieces: Option<Pieces>,
}

/// The contents of a file with holes: they follow each other in the tar.
#[derive(Debug)]
pub(super) struct Pieces {
    /// Offset in the file and length, ascending.
    pub(super) at: Vec<(u64, u64)>,
    /// The size of the file, holes and all.
    pub(super) whole: u64,
}

/// What extended headers said about the entry behind them.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    modified: Option<Time>,
    size: Option<u64>,
    owner: (Option<u32>, Option<u32>),
}

/// Calls `each` with every entry and its contents.
pub(super) fn entries<R: Read>(
    mut tar: R,
    mut each: impl FnMut(Described, &mut Contents<'_, R>) -> Result<(), CopyError>,
) -> Result<(), CopyError> {
    let mut extended = Extended::default();
    let mut block = [0; BLOCK];
    if !first_block(&mut tar, &mut block)? {
        return Ok(());
    }
    while block.iter().any(|byte| *byte != 0) {
        let header = Header::from_byte_slice(&block);
        check(header)?;
        let size = header.entry_size().map_err(CopyError::Tar)?;
        let extension = |tar: &mut R| extension(&mut Contents { tar, left: size }, size);
        match header.entry_type() {
            EntryType::GNULongName => extended.path = Some(trimmed(extension(&mut tar)?)),
            EntryType::GNULongLink => extended.link = Some(trimmed(extension(&mut tar)?)),
            EntryType::XHeader => extended.read(&extension(&mut tar)?)?,
            // Defaults for all entries; a guest's are not worth following.
            EntryType::XGlobalHeader => drop(extension(&mut tar)?),
            _ => {
                let mut described = std::mem::take(&mut extended).describe(header, size)?;
                if header.entry_type() == EntryType::GNUSparse {
                    described.pieces = Some(pieces(header, size, &mut tar)?);
                }
                let mut contents = Contents { tar: &mut tar, left: size };
                each(described, &mut contents)?;
                contents.skip()?;
            }
        }
        let padding = size.next_multiple_of(BLOCK as u64) - size;
        Contents { tar: &mut tar, left: padding }.skip()?;
        tar.read_exact(&mut block).map_err(CopyError::Tar)?;
    }
    Ok(())
}

/// The first block, or false when there is nothing at all.
fn first_block(tar: &mut impl Read, block: &mut [u8; BLOCK]) -> Result<bool, CopyError> {
    let first = loop {
        match tar.read(&mut block[..1]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read.map_err(CopyError::Tar)?,
        }
    };
    if first > 0 {
        tar.read_exact(&mut block[1..]).map_err(CopyError::Tar)?;
    }
    Ok(first > 0)
}

/// The sum of a header's bytes, its own field taken as blanks.
fn check(header: &Header) -> Result<(), CopyError> {
    let bytes = header.as_bytes();
    let sum: u32 =
        bytes.iter().enumerate().map(|(i, b)| if (148..156).contains(&i) { 32 } else { u32::from(*b) }).sum();
    match header.cksum() {
        Ok(said) if said == sum => Ok(()),
        _ => Err(broken("a header's checksum is wrong")),
    }
}

/// What an entry holds. Reads no further than its end.
pub(super) struct Contents<'a, R> {
    tar: &'a mut R,
    left: u64,
}

impl<R: Read> Contents<'_, R> {
    /// Leaves out what nobody read.
    fn skip(&mut self) -> Result<(), CopyError> {
        io::copy(self, &mut io::sink()).map_err(CopyError::Tar)?;
        if self.left > 0 { Err(broken("it is cut off")) } else { Ok(()) }
    }
}

impl<R: Read> Read for Contents<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let most = out.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let n = self.tar.read(&mut out[..most])?;
        self.left = self.left.saturating_sub(u64::try_from(n).unwrap_or(u64::MAX));
        Ok(n)
    }
}

/// Where the contents of a file with holes lie, in GNU's old form: four pieces in the header, then blocks of 21.
fn pieces(header: &Header, size: u64, tar: &mut impl Read) -> Result<Pieces, CopyError> {
    let gnu = header.as_gnu().ok_or_else(|| broken("a file with holes has a header of another kind"))?;
    let whole = gnu.real_size().map_err(CopyError::Tar)?;
    let mut pieces = Pieces { at: Vec::new(), whole };
    let (mut end, mut total) = (0, 0u64);
    let mut add = |piece: &GnuSparseHeader| {
        if piece.is_empty() {
            return Ok(());
        }
        let (offset, length) = (piece.offset().map_err(CopyError::Tar)?, piece.length().map_err(CopyError::Tar)?);
        let past = offset.checked_add(length).filter(|past| offset >= end && *past <= whole);
        end = past.ok_or_else(|| broken("the pieces of a file with holes do not fit it"))?;
        total += length;
        if length > 0 {
            pieces.at.push((offset, length));
        }
        if pieces.at.len() > MAX_PIECES { Err(broken("a file has too many holes")) } else { Ok(()) }
    };
    gnu.sparse.iter().try_for_each(&mut add)?;
    let mut more = gnu.is_extended();
    while more {
        let mut block = GnuExtSparseHeader::new();
        tar.read_exact(block.as_mut_bytes()).map_err(CopyError::Tar)?;
        block.sparse.iter().try_for_each(&mut add)?;
        more = block.is_extended();
    }
    if total == size { Ok(pieces) } else { Err(broken("the pieces of a file with holes do not fit it")) }
}

fn broken(what: &'static str) -> CopyError {
    CopyError::Tar(io::Error::new(io::ErrorKind::InvalidData, what))
}

fn extension<R: Read>(contents: &mut Contents<'_, R>, size: u64) -> Result<Vec<u8>, CopyError> {
    if size > MAX_EXTENSION {
        return Err(broken("an extended header is too long"));
    }
    let mut bytes = Vec::new();
    contents.read_to_end(&mut bytes).map_err(CopyError::Tar)?;
    if contents.left > 0 { Err(broken("it is cut off")) } else { Ok(bytes) }
}

/// GNU's long names end with a zero.
fn trimmed(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

impl Extended {
    fn read(&mut self, bytes: &[u8]) -> Result<(), CopyError> {
        for record in PaxExtensions::new(bytes) {
            let record = record.map_err(CopyError::Tar)?;
            let value = record.value_bytes();
            let number = || std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
            match record.key_bytes() {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => self.size = Some(number().ok_or_else(|| broken("a size is no number"))?),
                b"mtime" => self.modified = time(value),
                b"uid" => self.owner.0 = number().and_then(|id| u32::try_from(id).ok()),
                b"gid" => self.owner.1 = number().and_then(|id| u32::try_from(id).ok()),
                key if key.starts_with(b"GNU.sparse.") => {
                    return Err(broken("it tells of holes in a way that is not supported"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn describe(self, header: &Header, size: u64) -> Result<Described, CopyError> {
        // The reader went by the header; a size that differs means that what follows is not what it seems.
        if self.size.is_some_and(|said| said != size) {
            return Err(broken("an entry has two sizes"));
        }
        let bytes = self.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        let link = match self.link {
            Some(link) => link,
            None => header.link_name_bytes().map(|link| link.into_owned()).unwrap_or_default(),
        };
        let id = |said: Option<u32>, id: io::Result<u64>| said.or_else(|| u32::try_from(id.ok()?).ok()).unwrap_or(0);
        let seconds = header.mtime().map_err(CopyError::Tar)?;
        let plain = Time { seconds: i64::try_from(seconds).unwrap_or(0), nanoseconds: 0 };
        let number = |number: io::Result<Option<u32>>| number.ok().flatten().unwrap_or(0);
        Ok(Described {
            kind: header.entry_type(),
            path: safe(OsStr::from_bytes(&bytes), &shown)?,
            shown,
            link: OsString::from_vec(link),
            mode: header.mode().map_err(CopyError::Tar)?,
            owner: (id(self.owner.0, header.uid()), id(self.owner.1, header.gid())),
            modified: self.modified.unwrap_or(plain),
            device: (number(header.device_major()), number(header.device_minor())),
            size,
            pieces: None,
        })
    }
}

/// `seconds[.fraction]`, as pax writes it.
fn time(value: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    Some(Time { seconds: whole.parse().ok()?, nanoseconds: digits.parse().ok()? })
}

/// The parts of a name in a tar, if following them cannot lead anywhere else than down.
pub(super) fn safe(path: &OsStr, shown: &str) -> Result<Vec<OsString>, CopyError> {
    let hostile = |reason| CopyError::Hostile { entry: shown.chars().take(200).collect(), reason };
    let mut parts = Vec::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(part) => parts.push(part.to_owned()),
            Component::CurDir => {}
            Component::ParentDir => return Err(hostile("it has `..` in its name")),
            Component::RootDir | Component::Prefix(_) => return Err(hostile("its name is absolute")),
        }
        if parts.len() > MAX_DEPTH {
            return Err(hostile("it is too deep"));
        }
    }
    Ok(parts)
}
