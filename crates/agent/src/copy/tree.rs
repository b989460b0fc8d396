//! The tree that a tar becomes.
//!
//! Owns: walking from folder to folder by descriptors, never through a link, so that no name of a tar leads out of its
//! target; and giving folders their modes and times when nothing is put into them any more, which would change them.

use super::CopyError;
use super::pax::Xattr;
use rustix::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chownat, fchmod, fchown, fsetxattr,
    futimens, lsetxattr, mkdirat, openat, utimensat,
};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// What an entry has besides its content.
#[derive(Debug, Clone)]
pub(super) struct Meta {
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
    pub(super) mtime: Timespec,
    pub(super) xattrs: Vec<Xattr>,
}

#[derive(Debug)]
struct Level {
    name: OsString,
    fd: OwnedFd,
    meta: Option<Meta>,
}

/// The place where a tar goes, and the folders of it that are open.
#[derive(Debug)]
pub(super) struct Tree {
    base: OwnedFd,
    shown: PathBuf,
    levels: Vec<Level>,
}

impl Tree {
    /// A tree in the folder `base`, whose path is `shown` in errors.
    pub(super) fn new(base: OwnedFd, shown: PathBuf) -> Self {
        Self { base, shown, levels: Vec::new() }
    }

    /// The folder in which everything lies.
    pub(super) fn base(&self) -> BorrowedFd<'_> {
        self.base.as_fd()
    }

    /// How the entry with these names is called in errors.
    pub(super) fn shown(&self, names: &[&OsStr]) -> PathBuf {
        names.iter().fold(self.shown.clone(), |path, name| path.join(name))
    }

    /// The folder with these names below the base. Missing ones are made.
    pub(super) fn enter(&mut self, names: &[&OsStr]) -> Result<BorrowedFd<'_>, CopyError> {
        let common = self.levels.iter().zip(names).take_while(|(level, name)| level.name == **name).count();
        self.leave_to(common)?;
        for (depth, name) in names.iter().enumerate().skip(common) {
            let shown = || names[..=depth].iter().fold(self.shown.clone(), |path, name| path.join(name));
            let fd = open_folder(self.innermost(), name, true).map_err(|error| match error {
                Errno::NOTDIR | Errno::LOOP => CopyError::NotFolder { path: shown() },
                error => CopyError::File { path: shown(), source: error.into() },
            })?;
            self.levels.push(Level { name: name.to_os_string(), fd, meta: None });
        }
        Ok(self.innermost())
    }

    /// Makes the folder `names`, or takes the one that is there; it gets `meta` once the tar is past it.
    pub(super) fn folder(&mut self, names: &[&OsStr], meta: Meta) -> Result<(), CopyError> {
        let shown = self.shown(names);
        self.enter(names).map_err(|error| match error {
            CopyError::NotFolder { path } if path == shown => CopyError::IsNotFolder { path },
            error => error,
        })?;
        if let Some(level) = self.levels.last_mut() {
            level.meta = Some(meta);
        }
        Ok(())
    }

    /// The tar is over.
    pub(super) fn finish(mut self) -> Result<(), CopyError> {
        self.leave_to(0)
    }

    fn leave_to(&mut self, depth: usize) -> Result<(), CopyError> {
        while self.levels.len() > depth {
            let names: Vec<&OsStr> = self.levels.iter().map(|level| level.name.as_os_str()).collect();
            let shown = self.shown(&names);
            let Some(Level { fd, meta: Some(meta), .. }) = self.levels.pop() else { continue };
            finish_open(fd.as_fd(), &meta).map_err(|error| CopyError::File { path: shown, source: error.into() })?;
        }
        Ok(())
    }

    fn innermost(&self) -> BorrowedFd<'_> {
        self.levels.last().map_or(self.base.as_fd(), |level| level.fd.as_fd())
    }
}

/// Opens the folder `name` of another one, and no link; makes it first if need be and asked to.
pub(super) fn open_folder(parent: BorrowedFd<'_>, name: &OsStr, make: bool) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(parent, name, flags, Mode::empty()) {
        Err(Errno::NOENT) if make => {
            match mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
            openat(parent, name, flags, Mode::empty())
        }
        other => other,
    }
}

/// Gives an open file or folder its metadata. The order matters: a change of owner takes capabilities and set-id bits away.
pub(super) fn finish_open(fd: BorrowedFd<'_>, meta: &Meta) -> rustix::io::Result<()> {
    let (uid, gid) = ids(meta);
    tolerate(fchown(fd, Some(uid), Some(gid)), &[])?;
    fchmod(fd, Mode::from_raw_mode(meta.mode & 0o7777))?;
    for (name, value) in &meta.xattrs {
        tolerate(fsetxattr(fd, name.as_str(), value, XattrFlags::empty()), &[Errno::NOTSUP])?;
    }
    futimens(fd, &times(meta))
}

/// Gives what is at `name`, itself and not what it may link to, its metadata; links have no mode of their own.
pub(super) fn finish_at(folder: BorrowedFd<'_>, name: &OsStr, meta: &Meta) -> rustix::io::Result<()> {
    let (uid, gid) = ids(meta);
    tolerate(chownat(folder, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW), &[])?;
    let path = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
    for (key, value) in &meta.xattrs {
        tolerate(lsetxattr(&path, key.as_str(), value, XattrFlags::empty()), &[Errno::NOTSUP])?;
    }
    utimensat(folder, name, &times(meta), AtFlags::SYMLINK_NOFOLLOW)
}

fn ids(meta: &Meta) -> (Uid, Gid) {
    (Uid::from_raw(meta.owner.0), Gid::from_raw(meta.owner.1))
}

fn times(meta: &Meta) -> Timestamps {
    Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, last_modification: meta.mtime }
}

/// Who is not root cannot give away files; and what a file system does not have, it cannot keep.
fn tolerate(result: rustix::io::Result<()>, further: &[Errno]) -> rustix::io::Result<()> {
    match result {
        Err(Errno::PERM) if !rustix::process::geteuid().is_root() => Ok(()),
        Err(error) if further.contains(&error) => Ok(()),
        other => other,
    }
}

/// A tar's path as names, if it is one below its top: no `..`, nothing absolute, nothing empty.
pub(super) fn names(path: &[u8]) -> Option<Vec<&OsStr>> {
    if path.first() == Some(&b'/') || path.contains(&0) {
        return None;
    }
    let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    let names: Vec<&OsStr> = parts.map(OsStr::from_bytes).collect();
    (!names.is_empty() && names.iter().all(|name| *name != "..")).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_below_the_top_are_names() {
        let of = |path: &str| names(path.as_bytes()).map(|names| names.join(OsStr::new("|")));
        assert_eq!(of("a/b/c"), Some("a|b|c".into()));
        assert_eq!(of("./a//b/./c/"), Some("a|b|c".into()));
        for path in ["", ".", "./", "/", "/a", "..", "a/../b", "a/..", "../a", "a\0b"] {
            assert_eq!(of(path), None, "{path:?}");
        }
    }
}
