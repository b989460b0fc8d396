//! A tar from the host, made into files.
//!
//! Owns: where its top entry goes, and making each kind of entry. What is in an entry's place is replaced, but a folder only
//! by a folder and nothing else by one, as `cp -a` has it.

use super::pax::Extras;
use super::sparse::{self, Failed};
use super::tree::{Meta, Tree, finish_at, finish_open, names, open_folder};
use super::{CopyError, refused};
use banger_model::wire::guest::{CopyIn, Refusal};
use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Timespec, linkat, makedev, mknodat, open, openat, symlinkat, unlinkat,
};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use tar::{Archive, Entry, EntryType};

/// Bytes of a file taken at once; whole blocks.
const BUFFER: usize = 128 * 1024;

/// A tar that is about to come.
#[derive(Debug)]
pub(crate) struct In {
    tree: Tree,
    /// What the top entry is to be called; its own name when none.
    rename: Option<OsString>,
    owner: Option<(u32, u32)>,
    /// The top entry's name in the tar, once it is known.
    top: Option<OsString>,
}

impl In {
    /// Finds the folder where the tar goes.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn prepare(request: &CopyIn) -> Result<Self, Refusal> {
        let path = Path::new(&request.path);
        if !path.is_absolute() {
            return Err(refused(&request.path, "not an absolute path"));
        }
        let make = |base, shown: &Path, rename| Self {
            tree: Tree::new(base, shown.to_owned()),
            rename,
            owner: request.owner,
            top: None,
        };
        match open_directory(path) {
            Ok(base) => return Ok(make(base, path, None)),
            Err(Errno::NOENT) if request.path.ends_with('/') => {
                return Err(refused(&request.path, "no such folder"));
            }
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(error) => return Err(refused(&request.path, error)),
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(refused(&request.path, "no name of a file or folder"));
        };
        match open_directory(parent) {
            Ok(base) => Ok(make(base, parent, Some(name.to_owned()))),
            Err(Errno::NOENT) => Err(refused(&request.path, "its parent folder does not exist")),
            Err(Errno::NOTDIR) => Err(refused(&request.path, "its parent is not a folder")),
            Err(error) => Err(refused(&request.path, error)),
        }
    }

    /// Makes the files of the tar on standard input.
    ///
    /// # Errors
    /// At the first thing that cannot be made; what was made before stays.
    pub(crate) fn run(self) -> Result<(), CopyError> {
        let stdin = rustix::io::dup(rustix::stdio::stdin()).map_err(|error| CopyError::Tar(error.into()))?;
        self.take(File::from(stdin))
    }

    fn take(mut self, stream: impl Read) -> Result<(), CopyError> {
        let mut archive = Archive::new(stream);
        let mut buffer = vec![0; BUFFER];
        for entry in archive.entries().map_err(CopyError::Tar)? {
            self.entry(entry.map_err(CopyError::Tar)?, &mut buffer)?;
        }
        if self.top.is_none() {
            return Err(CopyError::Empty);
        }
        self.tree.finish()
    }

    fn entry(&mut self, mut entry: Entry<'_, impl Read>, buffer: &mut [u8]) -> Result<(), CopyError> {
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() {
            return Ok(());
        }
        let extras = Extras::of(&mut entry).map_err(CopyError::Tar)?;
        let path = entry.path_bytes().into_owned();
        let names = self.place(&path)?;
        let names: Vec<&OsStr> = names.iter().map(OsString::as_os_str).collect();
        let shown = self.tree.shown(&names);
        let unknown = || CopyError::Kind { path: shown.clone(), kind: format!("{:?}", char::from(kind.as_byte())) };
        if extras.foreign_sparse {
            return Err(unknown());
        }
        let meta = self.meta(&entry, extras).map_err(CopyError::Tar)?;
        if kind == EntryType::Directory {
            return self.tree.folder(&names, meta);
        }
        let [parents @ .., name] = names.as_slice() else { return Err(CopyError::Name { path: shown }) };
        let link = match kind {
            EntryType::Link | EntryType::Symlink => {
                let target = entry.link_name_bytes().map(|target| target.into_owned());
                target.filter(|target| !target.is_empty()).ok_or_else(unknown)?
            }
            _ => Vec::new(),
        };
        if kind == EntryType::Link {
            return self.hard_link(&link, parents, name);
        }
        let folder = self.tree.enter(parents)?;
        let file = |source: Errno| failed(&shown, source);
        match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let made = regular(folder, name, &shown, &mut entry, &meta, buffer);
                if made.is_err() {
                    // Better none than half of it.
                    let _ = unlinkat(folder, *name, AtFlags::empty());
                }
                return made;
            }
            EntryType::Symlink => {
                let target = OsStr::from_bytes(&link);
                replacing(folder, name, || symlinkat(target, folder, *name)).map_err(file)?;
            }
            EntryType::Fifo | EntryType::Char | EntryType::Block => {
                let (file_type, device) = device(&entry, kind).ok_or_else(unknown)?;
                let mode = Mode::from_raw_mode(meta.mode & 0o7777);
                replacing(folder, name, || mknodat(folder, *name, file_type, mode, device)).map_err(file)?;
                rustix::fs::chmodat(folder, *name, mode, AtFlags::empty()).map_err(file)?;
            }
            _ => return Err(unknown()),
        }
        finish_at(folder, name, &meta).map_err(file)
    }

    /// Where an entry goes, as names below the base.
    fn place(&mut self, path: &[u8]) -> Result<Vec<OsString>, CopyError> {
        let shown = || PathBuf::from(OsStr::from_bytes(path));
        let mut names: Vec<OsString> =
            names(path).ok_or_else(|| CopyError::Name { path: shown() })?.into_iter().map(OsStr::to_owned).collect();
        match &self.top {
            None => self.top = Some(names[0].clone()),
            Some(top) if *top == names[0] => {}
            Some(_) => return Err(CopyError::SecondTop { path: shown() }),
        }
        if let Some(rename) = &self.rename {
            names[0].clone_from(rename);
        }
        Ok(names)
    }

    fn meta(&self, entry: &Entry<'_, impl Read>, extras: Extras) -> std::io::Result<Meta> {
        let header = entry.header();
        let number =
            |value: u64| u32::try_from(value).map_err(|_| std::io::Error::other("an owner's number is too large"));
        let owner = match self.owner {
            Some(owner) => owner,
            None => (number(header.uid()?)?, number(header.gid()?)?),
        };
        let whole = Timespec { tv_sec: i64::try_from(header.mtime()?).unwrap_or(i64::MAX), tv_nsec: 0 };
        let mtime = extras.mtime.unwrap_or(whole);
        Ok(Meta { mode: header.mode()?, owner, mtime, xattrs: extras.xattrs })
    }

    /// A further name for a file that the tar has brought. Its folders are walked anew: they may be others.
    fn hard_link(&mut self, target: &[u8], parents: &[&OsStr], name: &OsStr) -> Result<(), CopyError> {
        let target = self.place(target)?;
        let target: Vec<&OsStr> = target.iter().map(OsString::as_os_str).collect();
        let shown = self.tree.shown(&target);
        let [target_parents @ .., target_name] = target.as_slice() else { return Err(CopyError::Name { path: shown }) };
        let from = self.tree.open_existing(target_parents).map_err(|error| failed(&shown, error))?;
        let folder = self.tree.enter(parents)?;
        if target_parents == parents && *target_name == name {
            return Ok(());
        }
        replacing(folder, name, || linkat(&from, *target_name, folder, name, AtFlags::empty()))
            .map_err(|error| failed(&shown, error))
    }
}

fn open_directory(path: &Path) -> rustix::io::Result<OwnedFd> {
    open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn failed(path: &Path, error: Errno) -> CopyError {
    let path = path.to_owned();
    match error {
        Errno::ISDIR | Errno::EXIST => CopyError::IsFolder { path },
        error => CopyError::File { path, source: error.into() },
    }
}

/// Makes something at `name`, in the place of what is there unless that is a folder.
fn replacing<T>(
    folder: BorrowedFd<'_>,
    name: &OsStr,
    make: impl Fn() -> rustix::io::Result<T>,
) -> rustix::io::Result<T> {
    match make() {
        Err(Errno::EXIST) => {
            unlinkat(folder, name, AtFlags::empty())?;
            make()
        }
        other => other,
    }
}

fn regular(
    folder: BorrowedFd<'_>,
    name: &OsStr,
    shown: &Path,
    entry: &mut Entry<'_, impl Read>,
    meta: &Meta,
    buffer: &mut [u8],
) -> Result<(), CopyError> {
    // Nobody else may look into it before it has its owner and mode.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let make = || openat(folder, name, flags, Mode::from_raw_mode(0o600));
    let file = replacing(folder, name, make).map_err(|error| failed(shown, error))?;
    let mut file = File::from(file);
    let promised = entry.size();
    let length = sparse::fill(&mut file, entry, buffer).map_err(|error| match error {
        Failed::Read(error) => CopyError::Tar(error),
        Failed::Write(source) => CopyError::File { path: shown.to_owned(), source },
    })?;
    if length != promised {
        return Err(CopyError::CutOff { path: shown.to_owned() });
    }
    finish_open(file.as_fd(), meta).map_err(|error| failed(shown, error))
}

fn device(entry: &Entry<'_, impl Read>, kind: EntryType) -> Option<(FileType, rustix::fs::Dev)> {
    let header = entry.header();
    let number = || Some(makedev(header.device_major().ok()??, header.device_minor().ok()??));
    match kind {
        EntryType::Fifo => Some((FileType::Fifo, 0)),
        EntryType::Char => Some((FileType::CharacterDevice, number()?)),
        _ => Some((FileType::BlockDevice, number()?)),
    }
}

impl Tree {
    /// Opens the folder with these names below the base on its own, and makes none.
    fn open_existing(&self, names: &[&OsStr]) -> rustix::io::Result<OwnedFd> {
        let base = self.base().try_clone_to_owned().map_err(|_| Errno::MFILE)?;
        names.iter().try_fold(base, |folder, name| open_folder(folder.as_fd(), name, false))
    }
}
