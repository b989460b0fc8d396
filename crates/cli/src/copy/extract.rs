//! A guest's tar becomes local files. The guest is hostile: it may send any entries in any order.
//!
//! What holds whatever it sends: everything is made below the one place that the user named, under the name that the user
//! gave; no link that is there already is ever followed, be it the guest's or the user's; nothing that exists is written
//! into, only replaced; no device, pipe or setuid file comes up unless the user asked for them. To that end every entry's
//! folder is reached from the place by one `openat` a level that refuses links.

use super::{
    CopyError, Keep, Summary,
    entries::{Described, Pieces, Time, entries, safe},
    local::Place,
};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{
        AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, chownat, fchmod, fchown, futimens,
        linkat, makedev, mkdirat, mknodat, openat, symlinkat, unlinkat, utimensat,
    },
    io::Errno,
};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read, Seek, SeekFrom},
};
use tar::EntryType;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Makes what the tar describes at the place.
pub(super) fn extract(tar: impl Read, place: &Place, keep: Keep) -> Result<Summary, CopyError> {
    let mut tree = Tree { place, keep, top: None, open: Vec::new(), summary: Summary::default() };
    let read = entries(tar, |entry, contents| tree.add(entry, contents));
    // Also after an error: what was made gets the modes that it should have.
    let closed = tree.close_down_to(0);
    read.and(closed)?;
    if tree.top.is_none() { Err(CopyError::Nothing) } else { Ok(tree.summary) }
}

/// What the first entry said the top is called.
#[derive(Debug, PartialEq, Eq)]
enum Top {
    /// `.`: the parts of all names are below it.
    Here,
    /// The first part of all names.
    Named(OsString),
}

struct Tree<'a> {
    place: &'a Place,
    keep: Keep,
    top: Option<Top>,
    /// The folders from the top down to the one that entries come for now.
    open: Vec<Folder>,
    summary: Summary,
}

struct Folder {
    name: OsString,
    fd: OwnedFd,
    /// What it gets once nothing more is put into it; none for a folder that no entry has described.
    finally: Option<Attributes>,
}

#[derive(Clone, Copy)]
struct Attributes {
    mode: Mode,
    owner: Option<(Uid, Gid)>,
    modified: Time,
}

impl Tree<'_> {
    fn add(&mut self, entry: Described, contents: &mut dyn Read) -> Result<(), CopyError> {
        if self.top.is_none() {
            self.top = Some(entry.path.first().map_or(Top::Here, |first| Top::Named(first.clone())));
        }
        let path = self.below_place(entry.path.clone(), &entry.shown)?;
        let Some((name, parents)) = path.split_last() else { return Err(hostile(&entry.shown, "it has no name")) };
        self.enter(parents, &entry.shown)?;
        let made = self.make(&entry, name, contents);
        made.map_err(|error| self.failed(&entry.shown, error))
    }

    /// The parts of a name in the tar as a path from the place's folder.
    fn below_place(&self, mut parts: Vec<OsString>, shown: &str) -> Result<Vec<OsString>, CopyError> {
        match &self.top {
            Some(Top::Named(top)) if parts.first() == Some(top) => parts[0] = self.place.name.clone(),
            Some(Top::Named(_)) => return Err(hostile(shown, "it is not below the first entry")),
            Some(Top::Here) | None => parts.insert(0, self.place.name.clone()),
        }
        Ok(parts)
    }

    /// Makes `open` the folders of `path`.
    fn enter(&mut self, path: &[OsString], shown: &str) -> Result<(), CopyError> {
        let same = self.open.iter().zip(path).take_while(|(folder, name)| folder.name == **name).count();
        self.close_down_to(same)?;
        for name in &path[same..] {
            let fd = self.folder(name).map_err(|error| self.failed(shown, error.into()))?;
            self.open.push(Folder { name: name.clone(), fd, finally: None });
        }
        Ok(())
    }

    fn here(&self) -> BorrowedFd<'_> {
        self.open.last().map_or(self.place.folder.as_fd(), |folder| folder.fd.as_fd())
    }

    /// The folder of that name, made when it is missing. A link is no folder.
    fn folder(&self, name: &OsStr) -> rustix::io::Result<OwnedFd> {
        match openat(self.here(), name, FOLDER, Mode::empty()) {
            Err(Errno::NOENT) => {
                mkdirat(self.here(), name, Mode::RWXU)?;
                openat(self.here(), name, FOLDER, Mode::empty())
            }
            other => other,
        }
    }

    /// Leaves the folders below that depth for good.
    fn close_down_to(&mut self, depth: usize) -> Result<(), CopyError> {
        let mut first = Ok(());
        while self.open.len() > depth {
            let Some(folder) = self.open.pop() else { break };
            if let Some(attributes) = folder.finally
                && let Err(error) = attributes.apply(&folder.fd)
            {
                first = first.and(Err(self.failed(&folder.name.to_string_lossy(), error.into())));
            }
        }
        first
    }

    fn make(&mut self, entry: &Described, name: &OsStr, contents: &mut dyn Read) -> io::Result<()> {
        let attributes = self.attributes(entry);
        match entry.kind {
            EntryType::Directory => {
                let fd = self.folder(name)?;
                self.open.push(Folder { name: name.to_owned(), fd, finally: Some(attributes) });
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.clear(name)?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let mut file = File::from(openat(self.here(), name, flags, Mode::RUSR | Mode::WUSR)?);
                let written = match &entry.pieces {
                    None => io::copy(contents, &mut file)?,
                    Some(pieces) => write_pieces(contents, &mut file, pieces)?,
                };
                if written != entry.size {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                attributes.apply(&file)?;
                self.summary.bytes += entry.pieces.as_ref().map_or(written, |pieces| pieces.whole);
            }
            EntryType::Symlink => {
                self.clear(name)?;
                symlinkat(&entry.link, self.here(), name)?;
                let (here, times) = (self.here(), attributes.times());
                if let Some((uid, gid)) = attributes.owner {
                    chownat(here, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
                }
                utimensat(here, name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            EntryType::Link => self.hard_link(entry, name)?,
            EntryType::Char | EntryType::Block | EntryType::Fifo if self.keep.all => {
                self.clear(name)?;
                let (kind, (major, minor)) = match entry.kind {
                    EntryType::Char => (FileType::CharacterDevice, entry.device),
                    EntryType::Block => (FileType::BlockDevice, entry.device),
                    _ => (FileType::Fifo, (0, 0)),
                };
                mknodat(self.here(), name, kind, attributes.mode, makedev(major, minor))?;
                if let Some((uid, gid)) = attributes.owner {
                    chownat(self.here(), name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
                }
                utimensat(self.here(), name, &attributes.times(), AtFlags::SYMLINK_NOFOLLOW)?;
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                self.summary.skipped += 1;
                return Ok(());
            }
            other => {
                let kind = format!("an entry of the unknown type {:?}", char::from(other.as_byte()));
                return Err(io::Error::new(io::ErrorKind::Unsupported, kind));
            }
        }
        self.summary.entries += 1;
        Ok(())
    }

    /// Both names are below the place; what the old one leads to is reached without following a link.
    fn hard_link(&mut self, entry: &Described, name: &OsStr) -> io::Result<()> {
        let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
        let target = safe(&entry.link, &entry.link.to_string_lossy()).map_err(|error| invalid(error.to_string()))?;
        let target = self.below_place(target, &entry.shown).map_err(|error| invalid(error.to_string()))?;
        let Some((last, parents)) = target.split_last() else { return Err(invalid("a link to nothing".into())) };
        let mut folder: Option<OwnedFd> = None;
        for part in parents {
            let from = folder.as_ref().map_or(self.place.folder.as_fd(), OwnedFd::as_fd);
            folder = Some(openat(from, part, FOLDER, Mode::empty())?);
        }
        let from = folder.as_ref().map_or(self.place.folder.as_fd(), OwnedFd::as_fd);
        self.clear(name)?;
        Ok(linkat(from, last, self.here(), name, AtFlags::empty())?)
    }

    /// Makes room for something of that name. Folders stay: they may hold what the user still wants.
    fn clear(&self, name: &OsStr) -> rustix::io::Result<()> {
        match unlinkat(self.here(), name, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            other => other,
        }
    }

    fn attributes(&self, entry: &Described) -> Attributes {
        let allowed = if self.keep.all { 0o7777 } else { 0o777 };
        let owner = self.keep.all && rustix::process::geteuid().is_root();
        Attributes {
            mode: Mode::from_raw_mode(entry.mode & allowed),
            owner: owner.then(|| (Uid::from_raw(entry.owner.0), Gid::from_raw(entry.owner.1))),
            modified: entry.modified,
        }
    }

    fn failed(&self, shown: &str, source: io::Error) -> CopyError {
        let below = shown.split_once('/').map_or("", |(_, below)| below);
        let path = if below.is_empty() { self.place.path.clone() } else { self.place.path.join(below) };
        match source.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::LOOP) => hostile(shown, "its folder is a link here"),
            _ => CopyError::Local { what: "write", path, source },
        }
    }
}

/// Writes contents where they lie; what is between them is left a hole.
fn write_pieces(contents: &mut dyn Read, file: &mut File, pieces: &Pieces) -> io::Result<u64> {
    let mut written = 0;
    for (offset, length) in &pieces.at {
        file.seek(SeekFrom::Start(*offset))?;
        written += io::copy(&mut (&mut *contents).take(*length), file)?;
    }
    file.set_len(pieces.whole)?;
    Ok(written)
}

fn hostile(shown: &str, reason: &'static str) -> CopyError {
    CopyError::Hostile { entry: shown.chars().take(200).collect(), reason }
}

impl Attributes {
    fn apply(&self, fd: impl AsFd) -> rustix::io::Result<()> {
        // The owner first: changing it takes setuid away.
        if let Some((uid, gid)) = self.owner {
            fchown(&fd, Some(uid), Some(gid))?;
        }
        fchmod(&fd, self.mode)?;
        futimens(&fd, &self.times())
    }

    fn times(&self) -> Timestamps {
        let accessed = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let modified = Timespec { tv_sec: self.modified.seconds, tv_nsec: self.modified.nanoseconds.into() };
        Timestamps { last_access: accessed, last_modification: modified }
    }
}

#[cfg(test)]
mod tests;
