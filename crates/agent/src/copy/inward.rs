//! A tar from the host, made into files.
//!
//! Owns: where its top entry goes, and making each kind of entry. What is in an entry's place is replaced, but a folder only
//! by a folder and nothing else by one, as `cp -a` has it.

use super::reader::{Item, Reader};
use super::sparse::{self, Failed};
use super::tree::{Meta, Tree, finish_at, finish_open, names, open_folder};
use super::{CopyError, refused};
use banger_model::wire::guest::{CopyIn, Refusal};
use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, linkat, makedev, mknodat, open, openat, symlinkat, unlinkat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use tar::EntryType;

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
        let mut reader = Reader::new(stream);
        let mut buffer = vec![0; BUFFER];
        while let Some(item) = reader.next()? {
            self.item(&item, &mut reader, &mut buffer)?;
        }
        if self.top.is_none() {
            return Err(CopyError::Empty);
        }
        self.tree.finish()
    }

    fn item(&mut self, item: &Item, content: &mut impl Read, buffer: &mut [u8]) -> Result<(), CopyError> {
        let names = self.place(&item.path)?;
        let names: Vec<&OsStr> = names.iter().map(OsString::as_os_str).collect();
        let shown = self.tree.shown(&names);
        let kind = item.kind;
        let linkless = matches!(kind, EntryType::Link | EntryType::Symlink) && item.link.is_empty();
        if item.extras.foreign_sparse || linkless {
            return Err(unknown(&shown, kind));
        }
        let meta = Meta {
            mode: item.mode,
            owner: self.owner.unwrap_or(item.owner),
            mtime: item.mtime,
            xattrs: item.extras.xattrs.clone(),
        };
        if kind == EntryType::Directory {
            return self.tree.folder(&names, meta);
        }
        let [parents @ .., name] = names.as_slice() else { return Err(CopyError::Name { path: shown }) };
        if kind == EntryType::Link {
            return self.hard_link(&item.link, parents, name);
        }
        let folder = self.tree.enter(parents)?;
        let file = |source: Errno| failed(&shown, source);
        match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let made = regular(folder, name, &shown, item, content, &meta, buffer);
                if made.is_err() {
                    // Better none than half of it.
                    let _ = unlinkat(folder, *name, AtFlags::empty());
                }
                return made;
            }
            EntryType::Symlink => {
                let target = OsStr::from_bytes(&item.link);
                replacing(folder, name, || symlinkat(target, folder, *name)).map_err(file)?;
            }
            EntryType::Fifo | EntryType::Char | EntryType::Block => {
                let (file_type, device) = match kind {
                    EntryType::Fifo => (FileType::Fifo, 0),
                    EntryType::Char => (FileType::CharacterDevice, makedev(item.device.0, item.device.1)),
                    _ => (FileType::BlockDevice, makedev(item.device.0, item.device.1)),
                };
                let mode = Mode::from_raw_mode(meta.mode);
                replacing(folder, name, || mknodat(folder, *name, file_type, mode, device)).map_err(file)?;
                rustix::fs::chmodat(folder, *name, mode, AtFlags::empty()).map_err(file)?;
            }
            _ => return Err(unknown(&shown, kind)),
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

fn unknown(path: &Path, kind: EntryType) -> CopyError {
    CopyError::Kind { path: path.to_owned(), kind: format!("{:?}", char::from(kind.as_byte())) }
}

fn regular(
    folder: BorrowedFd<'_>,
    name: &OsStr,
    shown: &Path,
    item: &Item,
    content: &mut impl Read,
    meta: &Meta,
    buffer: &mut [u8],
) -> Result<(), CopyError> {
    // Nobody else may look into it before it has its owner and mode.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let make = || openat(folder, name, flags, Mode::from_raw_mode(0o600));
    let file = File::from(replacing(folder, name, make).map_err(|error| failed(shown, error))?);
    let write = |source| CopyError::File { path: shown.to_owned(), source };
    for (start, length) in item.pieces.as_deref().unwrap_or(&[(0, item.size)]) {
        let filled = sparse::fill(&file, *start, &mut content.take(*length), buffer).map_err(|error| match error {
            Failed::Read(error) => CopyError::Tar(error),
            Failed::Write(source) => write(source),
        })?;
        if filled != *length {
            return Err(CopyError::CutOff { path: shown.to_owned() });
        }
    }
    // What comes last may be a hole.
    file.set_len(item.size).map_err(write)?;
    finish_open(file.as_fd(), meta).map_err(|error| failed(shown, error))
}

impl Tree {
    /// Opens the folder with these names below the base on its own, and makes none.
    fn open_existing(&self, names: &[&OsStr]) -> rustix::io::Result<OwnedFd> {
        let base = self.base().try_clone_to_owned().map_err(|_| Errno::MFILE)?;
        names.iter().try_fold(base, |folder, name| open_folder(folder.as_fd(), name, false))
    }
}
