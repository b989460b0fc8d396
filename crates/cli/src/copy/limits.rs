//! Reading a hostile tar, entry by entry, within bounds.
//!
//! Long names and the extended headers of POSIX (pax) come as entries of their own, of any size; here they are read up to a
//! bound, and only what is needed of them. Formats: POSIX.1-2017 `pax`, "ustar Interchange Format" and "pax Interchange
//! Format"; GNU tar manual, "Basic Tar Format" for types `L` and `K`.

use super::CopyError;
use std::{
    ffi::{OsStr, OsString},
    io::{self, Read},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Component, Path},
};
use tar::{EntryType, PaxExtensions};

/// The longest extended header that is read, in bytes: a path of Linux's longest, a link as long, and some numbers.
const MAX_EXTENSION: u64 = 64 << 10;
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
    pub(super) size: u64,
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
    tar: R,
    mut each: impl FnMut(Described, &mut dyn Read) -> Result<(), CopyError>,
) -> Result<(), CopyError> {
    let mut archive = tar::Archive::new(tar);
    let mut extended = Extended::default();
    // Raw: the crate would read extended headers of any size into memory.
    for entry in archive.entries().map_err(CopyError::Tar)?.raw(true) {
        let mut entry = entry.map_err(CopyError::Tar)?;
        match entry.header().entry_type() {
            EntryType::GNULongName => extended.path = Some(trimmed(extension(&mut entry)?)),
            EntryType::GNULongLink => extended.link = Some(trimmed(extension(&mut entry)?)),
            EntryType::XHeader => extended.read(&extension(&mut entry)?)?,
            // Defaults for all entries; ours has none worth following.
            EntryType::XGlobalHeader => drop(extension(&mut entry)?),
            _ => {
                let described = std::mem::take(&mut extended).describe(entry.header())?;
                each(described, &mut entry)?;
            }
        }
    }
    Ok(())
}

fn broken(what: &'static str) -> CopyError {
    CopyError::Tar(io::Error::new(io::ErrorKind::InvalidData, what))
}

fn extension<R: Read>(entry: &mut tar::Entry<'_, R>) -> Result<Vec<u8>, CopyError> {
    if entry.size() > MAX_EXTENSION {
        return Err(broken("an extended header is too long"));
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(CopyError::Tar)?;
    Ok(bytes)
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
                key if key.starts_with(b"GNU.sparse.") => return Err(broken("it has a sparse file in GNU's format")),
                _ => {}
            }
        }
        Ok(())
    }

    fn describe(self, header: &tar::Header) -> Result<Described, CopyError> {
        let size = header.entry_size().map_err(CopyError::Tar)?;
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
