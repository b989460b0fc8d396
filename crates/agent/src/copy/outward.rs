//! Files of the guest as a tar for the host.
//!
//! Owns: walking a tree by descriptors and telling each entry. What cannot be read is named on stderr and left out, and makes
//! the copy fail in the end; sockets are left out as every tar program does, since no copy of one works.

use super::pax::{self, Xattr};
use super::{CopyError, refused, sparse};
use banger_model::wire::guest::Refusal;
use rustix::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Stat, Timespec, lgetxattr, llistxattr, major, minor, open, openat,
    readlinkat, statat,
};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// Bytes collected before they are sent.
const BUFFER: usize = 128 * 1024;
/// The longest path and link that a tar's own header has room for, in bytes.
const SHORT_NAME: usize = 99;

/// A tree that is about to be sent.
#[derive(Debug)]
pub(crate) struct Out {
    parent: OwnedFd,
    name: OsString,
    /// The path of `parent` in messages.
    shown: PathBuf,
}

impl Out {
    /// Finds what is to be sent.
    ///
    /// # Errors
    /// When it is not there, or has no name.
    pub(crate) fn prepare(path: &str) -> Result<Self, Refusal> {
        let refused = |reason: &dyn std::fmt::Display| refused(path, reason);
        let asked = Path::new(path);
        if !asked.is_absolute() {
            return Err(refused(&"not an absolute path"));
        }
        let (Some(Component::Normal(name)), Some(shown)) = (asked.components().next_back(), asked.parent()) else {
            return Err(refused(&"no name of a file or folder"));
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = open(shown, flags, Mode::empty()).map_err(|error| refused(&error))?;
        statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|error| refused(&error))?;
        if path.ends_with('/') {
            // As everywhere: with a slash behind it, a link means the folder that it leads to.
            let folder = open(asked, flags, Mode::empty()).map_err(|error| refused(&error))?;
            let real = std::fs::read_link(Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()));
            let real = real.map_err(|error| refused(&error))?;
            if let (Some(shown), Some(name)) = (real.parent(), real.file_name()) {
                let parent = open(shown, flags, Mode::empty()).map_err(|error| refused(&error))?;
                return Ok(Self { parent, name: name.to_owned(), shown: shown.to_owned() });
            }
        }
        Ok(Self { parent, name: name.to_owned(), shown: shown.to_owned() })
    }

    /// Sends it on standard output.
    ///
    /// # Errors
    /// When nobody takes it any more, or not all could be read.
    pub(crate) fn run(self) -> Result<(), CopyError> {
        let stdout = rustix::io::dup(rustix::stdio::stdout()).map_err(|error| CopyError::Send(error.into()))?;
        self.send(File::from(stdout))
    }

    fn send(self, out: impl Write) -> Result<(), CopyError> {
        let builder = Builder::new(BufWriter::with_capacity(BUFFER, out));
        let mut sender = Sender { builder, shown: self.shown, links: HashMap::new(), skipped: 0 };
        sender.entry(self.parent.as_fd(), &self.name, &mut PathBuf::from(&self.name))?;
        let skipped = sender.skipped;
        let mut out = sender.builder.into_inner().map_err(CopyError::Send)?;
        out.flush().map_err(CopyError::Send)?;
        match skipped {
            0 => Ok(()),
            skipped => Err(CopyError::Skipped(skipped)),
        }
    }
}

struct Sender<W: Write> {
    builder: Builder<BufWriter<W>>,
    shown: PathBuf,
    /// Files with several names, by device and number, with the first of their names.
    links: HashMap<(u64, u64), PathBuf>,
    skipped: u64,
}

impl<W: Write> Sender<W> {
    /// Sends what is called `name` in `folder`, and `path` in the tar.
    fn entry(&mut self, folder: BorrowedFd<'_>, name: &OsStr, path: &mut PathBuf) -> Result<(), CopyError> {
        let stat = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(error) => return self.skip(path, error),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Socket {
            self.say(path, "sockets cannot be copied");
            return Ok(());
        }
        if kind != FileType::Directory && stat.st_nlink > 1 {
            match self.links.get(&(stat.st_dev, stat.st_ino)) {
                Some(first) => {
                    let target = first.clone().into_os_string().into_vec();
                    return self.plain(path, &stat, EntryType::Link, Some(&target), &[]);
                }
                None => drop(self.links.insert((stat.st_dev, stat.st_ino), path.clone())),
            }
        }
        let xattrs = xattrs(folder, name);
        match kind {
            FileType::Directory => self.folder(folder, name, path, &stat, &xattrs),
            FileType::RegularFile => self.file(folder, name, path, &xattrs),
            FileType::Symlink => match readlinkat(folder, name, Vec::new()) {
                Ok(target) => self.plain(path, &stat, EntryType::Symlink, Some(target.to_bytes()), &xattrs),
                Err(error) => self.skip(path, error),
            },
            FileType::Fifo => self.plain(path, &stat, EntryType::Fifo, None, &xattrs),
            FileType::CharacterDevice => self.plain(path, &stat, EntryType::Char, None, &xattrs),
            FileType::BlockDevice => self.plain(path, &stat, EntryType::Block, None, &xattrs),
            _ => self.skip(path, "it is of no known kind"),
        }
    }

    fn folder(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &mut PathBuf,
        stat: &Stat,
        xattrs: &[Xattr],
    ) -> Result<(), CopyError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(parent, name, flags, Mode::empty());
        let listed = opened.and_then(|folder| list(&folder).map(|names| (folder, names)));
        let (folder, names) = match listed {
            Ok(listed) => listed,
            Err(error) => return self.skip(path, error),
        };
        self.plain(path, stat, EntryType::Directory, None, xattrs)?;
        for name in names {
            path.push(&name);
            self.entry(folder.as_fd(), &name, path)?;
            path.pop();
        }
        Ok(())
    }

    fn file(&mut self, folder: BorrowedFd<'_>, name: &OsStr, path: &Path, xattrs: &[Xattr]) -> Result<(), CopyError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = openat(folder, name, flags, Mode::empty());
        // What is open now may not be what was looked at.
        let looked = opened.and_then(|file| rustix::fs::fstat(&file).map(|stat| (file, stat)));
        let (mut file, stat) = match looked {
            Ok((file, stat)) if FileType::from_raw_mode(stat.st_mode).is_file() => (File::from(file), stat),
            Ok(_) => return self.skip(path, "it is no longer a file"),
            Err(error) => return self.skip(path, error),
        };
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let holey = u64::try_from(stat.st_blocks).unwrap_or(0) * 512 < size;
        let pieces = if holey { sparse::pieces(&file, size).unwrap_or(None) } else { None };
        let mut header = self.header(path, &stat, EntryType::Regular, None, xattrs)?;
        let out = self.builder.get_mut();
        let whole = match pieces {
            Some(pieces) => sparse::write(out, header, &mut file, size, &pieces).map(|()| true),
            None => {
                header.set_size(size);
                header.set_cksum();
                out.write_all(header.as_bytes()).and_then(|()| {
                    let whole = sparse::exactly(&mut file, size, out)?;
                    sparse::pad(out, size)?;
                    Ok(whole)
                })
            }
        };
        match whole.map_err(CopyError::Send)? {
            true => Ok(()),
            false => self.skip(path, "it became shorter while it was read; zeros stand for the rest"),
        }
    }

    /// An entry without content.
    fn plain(
        &mut self,
        path: &Path,
        stat: &Stat,
        kind: EntryType,
        target: Option<&[u8]>,
        xattrs: &[Xattr],
    ) -> Result<(), CopyError> {
        let mut header = self.header(path, stat, kind, target, xattrs)?;
        if matches!(kind, EntryType::Char | EntryType::Block) {
            let device = header.set_device_major(major(stat.st_rdev));
            device.and_then(|()| header.set_device_minor(minor(stat.st_rdev))).map_err(CopyError::Send)?;
        }
        header.set_cksum();
        self.builder.get_mut().write_all(header.as_bytes()).map_err(CopyError::Send)
    }

    /// An entry's header, with what does not fit into it already sent before it.
    fn header(
        &mut self,
        path: &Path,
        stat: &Stat,
        kind: EntryType,
        target: Option<&[u8]>,
        xattrs: &[Xattr],
    ) -> Result<Header, CopyError> {
        let mtime = Timespec { tv_sec: stat.st_mtime, tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or(0) };
        let mut records = Vec::new();
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(stat.st_mode & 0o7777);
        header.set_uid(u64::from(stat.st_uid));
        header.set_gid(u64::from(stat.st_gid));
        header.set_mtime(u64::try_from(mtime.tv_sec).unwrap_or(0));
        header.set_size(0);
        let name = path.as_os_str().as_bytes();
        let old = header.as_old_mut();
        for (field, value, key) in [(&mut old.name, Some(name), "path"), (&mut old.linkname, target, "linkpath")] {
            let value = value.unwrap_or_default();
            let fits = value.len().min(SHORT_NAME);
            field[..fits].copy_from_slice(&value[..fits]);
            if fits < value.len() {
                records.push((key.to_owned(), value.to_vec()));
            }
        }
        // Attributes last: there are readers that lose their way behind a value with line feeds in it.
        records.extend(pax::records(mtime, xattrs));
        let records: Vec<(&str, &[u8])> = records.iter().map(|(key, value)| (key.as_str(), value.as_slice())).collect();
        if !records.is_empty() {
            self.builder.append_pax_extensions(records).map_err(CopyError::Send)?;
        }
        Ok(header)
    }

    fn skip(&mut self, path: &Path, why: impl std::fmt::Display) -> Result<(), CopyError> {
        self.skipped += 1;
        self.say(path, why);
        Ok(())
    }

    fn say(&self, path: &Path, why: impl std::fmt::Display) {
        let line = format!("{}: {why}\n", self.shown.join(path).display());
        let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
    }
}

/// The names in a folder, in order, so that equal trees make equal tars.
fn list(folder: &OwnedFd) -> rustix::io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The extended attributes of what is at `name`; those that cannot be had are not had.
fn xattrs(folder: BorrowedFd<'_>, name: &OsStr) -> Vec<Xattr> {
    let path = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
    let names = whole(|buffer| llistxattr(&path, buffer));
    let names =
        names.split(|byte| *byte == 0).filter_map(|name| str::from_utf8(name).ok()).filter(|name| !name.is_empty());
    names.map(|name| (name.to_owned(), whole(|buffer| lgetxattr(&path, name, buffer)))).collect()
}

/// Calls `get` with ever larger buffers until what it gets fits.
fn whole(get: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> Vec<u8> {
    let mut buffer = vec![0; 256];
    loop {
        match get(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return buffer;
            }
            // The kernel's own limit for both is 64 KiB.
            Err(Errno::RANGE) if buffer.len() < 64 * 1024 => buffer.resize(buffer.len() * 4, 0),
            Err(_) => return Vec::new(),
        }
    }
}
