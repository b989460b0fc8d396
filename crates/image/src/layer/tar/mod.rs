//! Reading tar streams: POSIX ustar and pax, GNU's and star's extensions, as they occur in image layers.
//!
//! Owns: headers, long names, attributes, sparse maps; a stream becomes [`Entry`]s, and each file's bytes come as pieces and
//! holes ([`Reader::content`]). Must not: judge paths, or keep contents. Every length that the stream names is bounded before
//! it is believed. The formats: POSIX.1-2017 "pax"; "Basic Tar Format" and "Storing Sparse Files" in GNU tar's manual.

mod error;
mod header;
#[cfg(test)]
mod hostile;
mod pax;
mod sparse;

pub use error::{TarError, TarFault};

use crate::ext4::Meta;
use error::shown;
use header::{Header, Type};
use pax::Records;
use sparse::{Map, MapFault};
use std::io::{self, BufRead};

/// Everything in a tar is padded to this.
const BLOCK: usize = 512;
/// The longest name, target or set of attributes that is taken, in bytes.
const MAX_EXTENSION: u64 = 1 << 20;
/// The longest path or target, in bytes: Linux's own limit.
const MAX_PATH: usize = 4096;
/// The longest file, in bytes: what ext4 can address with blocks of 4 KiB.
const MAX_FILE: u64 = (1 << 44) - (1 << 12);

/// What a tar says about one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// As written, never empty.
    pub path: Vec<u8>,
    /// Owner, mode, time and attributes.
    pub meta: Meta,
    /// What it is.
    pub kind: EntryKind,
}

/// What a name of a tar stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A folder.
    Dir,
    /// A regular file, with its length in bytes. [`Reader::content`] has what is in it.
    File(u64),
    /// Another name for what has this path.
    Link(Vec<u8>),
    /// A symbolic link.
    Symlink(Vec<u8>),
    /// A character device.
    Char {
        /// Its driver.
        major: u32,
        /// Its unit.
        minor: u32,
    },
    /// A block device.
    Block {
        /// Its driver.
        major: u32,
        /// Its unit.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// The next part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// Bytes.
    Data(&'a [u8]),
    /// So many zeros that are not in the tar.
    Hole(u64),
}

/// Reads entries one after the other.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    /// Bytes of the current entry that are still in the input.
    stored: u64,
    /// Bytes that pad them.
    padding: u64,
    /// Where those bytes belong.
    map: Map,
    /// For errors.
    path: Vec<u8>,
    global: Records,
}

impl<R: BufRead> Reader<R> {
    /// Reads from the tar's first byte on.
    pub fn new(input: R) -> Self {
        Self { input, stored: 0, padding: 0, map: Map::default(), path: Vec::new(), global: Records::default() }
    }

    /// How many bytes of the current entry are still to come.
    pub fn announced(&self) -> u64 {
        self.stored
    }

    /// What the entries come from.
    pub fn get_ref(&self) -> &R {
        &self.input
    }

    /// The rest of the input, after the last entry.
    pub fn into_inner(self) -> R {
        self.input
    }

    /// The next entry, or none at the end. What was left of the one before is skipped.
    ///
    /// # Errors
    /// When the input fails or is no tar.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        self.skip_rest()?;
        let mut records = Records::default();
        let (mut long_name, mut long_target) = (None, None);
        loop {
            let Some(block) = self.block()? else { return Ok(None) };
            let Some(header) = Header::parse(&block).map_err(|fault| self.fault(fault))? else { return Ok(None) };
            self.path.clone_from(&header.path);
            match header.kind {
                Type::Pax => {
                    records = Records::parse(&self.extension(header.size)?).map_err(|fault| self.fault(fault))?
                }
                Type::PaxGlobal => {
                    self.global = Records::parse(&self.extension(header.size)?).map_err(|fault| self.fault(fault))?;
                }
                Type::LongName => long_name = Some(self.long(header.size)?),
                Type::LongTarget => long_target = Some(self.long(header.size)?),
                Type::Label => {
                    self.begin(header.size);
                    self.skip_rest()?;
                }
                _ => {
                    let records = records.over(&self.global);
                    return self.entry(header, &block, &records, long_name, long_target).map(Some);
                }
            }
        }
    }

    fn entry(
        &mut self,
        header: Header,
        block: &[u8; BLOCK],
        records: &Records,
        long_name: Option<Vec<u8>>,
        long_target: Option<Vec<u8>>,
    ) -> Result<Entry, TarError> {
        let path = records.path.clone().or(long_name).unwrap_or(header.path);
        self.path.clone_from(&path);
        let target = records.target.clone().or(long_target).unwrap_or(header.target);
        if path.is_empty() || path.len() > MAX_PATH || target.len() > MAX_PATH {
            return Err(self.fault(TarFault::Path));
        }
        let meta = Meta {
            mode: header.mode,
            uid: records.uid.unwrap_or(header.uid),
            gid: records.gid.unwrap_or(header.gid),
            mtime: records.mtime.unwrap_or(header.mtime),
            xattrs: records.xattrs.clone(),
        };
        let size = records.size.unwrap_or(header.size);
        let (major, minor) = header.device;
        let mut stored = 0;
        let kind = match header.kind {
            // A name that ends in a slash was a folder before there was a type for it.
            Type::Regular if path.ends_with(b"/") => EntryKind::Dir,
            Type::Regular | Type::GnuSparse => {
                stored = size;
                EntryKind::File(self.file(&header.kind, size, block, records)?)
            }
            // The size that some writers give to links, folders and devices has no bytes behind it.
            Type::Link if target.is_empty() => return Err(self.fault(TarFault::NoTarget)),
            Type::Link => EntryKind::Link(target),
            Type::Symlink if target.is_empty() => return Err(self.fault(TarFault::NoTarget)),
            Type::Symlink => EntryKind::Symlink(target),
            Type::Char => EntryKind::Char { major, minor },
            Type::Block => EntryKind::Block { major, minor },
            Type::Dir => EntryKind::Dir,
            Type::DumpDir => {
                stored = size;
                EntryKind::Dir
            }
            Type::Fifo => EntryKind::Fifo,
            _ => return Err(self.fault(TarFault::Type { kind: block[header::TYPE_AT].escape_ascii().to_string() })),
        };
        if !matches!(kind, EntryKind::File(_)) {
            self.begin(stored);
        }
        Ok(Entry { path: records.sparse.name.clone().unwrap_or(path), meta, kind })
    }

    /// Begins a regular file and finds out where its bytes belong. Says how long it is.
    fn file(&mut self, kind: &Type, size: u64, block: &[u8; BLOCK], records: &Records) -> Result<u64, TarError> {
        let sparse = &records.sparse;
        if size > MAX_FILE {
            return Err(self.fault(TarFault::TooLarge { size }));
        }
        self.begin(size);
        let map = if matches!(kind, Type::GnuSparse) {
            self.gnu_map(block, size)?
        } else if sparse.is_in_data() {
            self.map_in_data(sparse.real_size.unwrap_or(size))?
        } else if let Some(ranges) = &sparse.ranges {
            Map::new(ranges.clone(), sparse.real_size.unwrap_or(size))
        } else {
            Ok(Map::whole(size))
        };
        let map = map.map_err(|MapFault| self.fault(TarFault::SparseMap))?;
        if map.stored() != self.stored {
            return Err(self.fault(TarFault::SparseMap));
        }
        if map.size() > MAX_FILE {
            return Err(self.fault(TarFault::TooLarge { size: map.size() }));
        }
        let size = map.size();
        self.map = map;
        Ok(size)
    }

    /// GNU's old form: four ranges in the header, and more in blocks that follow it.
    fn gnu_map(&mut self, block: &[u8; BLOCK], size: u64) -> Result<Result<Map, MapFault>, TarError> {
        let (mut ranges, mut more, real) = sparse::in_header(block).map_err(|fault| self.fault(fault))?;
        while more {
            let block = self.block()?.ok_or_else(|| self.fault(TarFault::Truncated))?;
            more = sparse::in_extension(&block, &mut ranges).map_err(|fault| self.fault(fault))?;
        }
        // Those blocks came before the file's bytes.
        self.begin(size);
        Ok(Map::new(ranges, real))
    }

    /// GNU's newest form: the file's bytes begin with its map in decimal, padded to a block.
    fn map_in_data(&mut self, real: u64) -> Result<Result<Map, MapFault>, TarError> {
        let mut parser = sparse::Decimal::default();
        let ranges = loop {
            if self.stored < BLOCK as u64 {
                return Err(self.fault(TarFault::SparseMap));
            }
            let block = self.block()?.ok_or_else(|| self.fault(TarFault::Truncated))?;
            self.stored -= BLOCK as u64;
            if let Some(ranges) = parser.take(&block).map_err(|fault| self.fault(fault))? {
                break ranges;
            }
        };
        Ok(Map::new(ranges, real))
    }

    /// Hands out the current file's bytes and holes, in order.
    ///
    /// # Errors
    /// When the input fails or ends, as the outer error; what `take` returns, as the inner one.
    pub fn content<E>(&mut self, mut take: impl FnMut(Part<'_>) -> Result<(), E>) -> Result<Result<(), E>, TarError> {
        let map = std::mem::take(&mut self.map);
        let mut at = 0;
        for (offset, length) in map.ranges() {
            if *offset > at
                && let Err(error) = take(Part::Hole(offset - at))
            {
                return Ok(Err(error));
            }
            at = offset + length;
            let mut left = *length;
            while left > 0 {
                let bytes = fill(&mut self.input, &self.path)?;
                let count = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                if let Err(error) = take(Part::Data(&bytes[..count])) {
                    return Ok(Err(error));
                }
                self.input.consume(count);
                left -= count as u64;
                self.stored -= count as u64;
            }
        }
        if map.size() > at
            && let Err(error) = take(Part::Hole(map.size() - at))
        {
            return Ok(Err(error));
        }
        Ok(Ok(()))
    }

    fn begin(&mut self, stored: u64) {
        self.stored = stored;
        // A length that nothing can have ends with the input, long before its padding matters.
        self.padding = stored.checked_next_multiple_of(BLOCK as u64).map_or(0, |padded| padded - stored);
        self.map = Map::default();
    }

    fn skip_rest(&mut self) -> Result<(), TarError> {
        let mut left = self.stored.saturating_add(self.padding);
        (self.stored, self.padding) = (0, 0);
        while left > 0 {
            let count = fill(&mut self.input, &self.path)?.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.input.consume(count);
            left -= count as u64;
        }
        Ok(())
    }

    /// The next block; none if the input is at its end.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            let bytes = read(&mut self.input, &self.path)?;
            if bytes.is_empty() {
                return if filled == 0 { Ok(None) } else { Err(self.fault(TarFault::Truncated)) };
            }
            let count = bytes.len().min(BLOCK - filled);
            block[filled..filled + count].copy_from_slice(&bytes[..count]);
            self.input.consume(count);
            filled += count;
        }
        Ok(Some(block))
    }

    /// All bytes of an entry that describes the next one.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        if size > MAX_EXTENSION {
            return Err(self.fault(TarFault::Extension { size }));
        }
        self.begin(size);
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        while self.stored > 0 {
            let more = fill(&mut self.input, &self.path)?;
            let count = more.len().min(usize::try_from(self.stored).unwrap_or(usize::MAX));
            bytes.extend_from_slice(&more[..count]);
            self.input.consume(count);
            self.stored -= count as u64;
        }
        self.skip_rest()?;
        Ok(bytes)
    }

    fn long(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        let mut bytes = self.extension(size)?;
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        bytes.truncate(end);
        Ok(bytes)
    }

    fn fault(&self, fault: TarFault) -> TarError {
        TarError::Entry { path: shown(&self.path), fault }
    }
}

/// What is in the buffer, or what comes next. Nothing at the end.
fn read<'r>(input: &'r mut impl BufRead, path: &[u8]) -> Result<&'r [u8], TarError> {
    loop {
        match input.fill_buf() {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(TarError::Read { path: shown(path), source }),
        }
    }
    // Asked twice, because a loop cannot return what it borrows. The second time it is there.
    input.fill_buf().map_err(|source| TarError::Read { path: shown(path), source })
}

/// As [`read`]; the end is an error.
fn fill<'r>(input: &'r mut impl BufRead, path: &[u8]) -> Result<&'r [u8], TarError> {
    let bytes = read(input, path)?;
    if bytes.is_empty() {
        return Err(TarError::Entry { path: shown(path), fault: TarFault::Truncated });
    }
    Ok(bytes)
}
