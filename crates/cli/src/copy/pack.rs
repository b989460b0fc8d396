//! A local file or folder becomes a tar. Links are sent as links, as `cp -a` copies them.

use super::{CopyError, Keep, Summary, local::Source};
use std::{
    collections::HashMap,
    fs::{self, File, Metadata},
    io::{self, Read, Write},
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};
use tar::{Builder, EntryType, Header, HeaderMode};

/// Writes the source as a tar, its name as the top entry.
pub(super) fn pack(out: impl Write, source: &Source, keep: Keep) -> Result<Summary, CopyError> {
    let mut packer = Packer { tar: Builder::new(out), keep, links: HashMap::new(), summary: Summary::default() };
    packer.add(&source.path, &PathBuf::from(&source.name))?;
    packer.tar.finish().map_err(CopyError::Send)?;
    Ok(packer.summary)
}

struct Packer<W: Write> {
    tar: Builder<W>,
    keep: Keep,
    /// Files with several names, and the name that each was sent under.
    links: HashMap<(u64, u64), PathBuf>,
    summary: Summary,
}

impl<W: Write> Packer<W> {
    fn add(&mut self, path: &Path, name: &Path) -> Result<(), CopyError> {
        let read = || CopyError::local("read", path);
        let metadata = fs::symlink_metadata(path).map_err(read())?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            self.entry(&metadata, EntryType::Directory, name, None)?;
            // Sorted: two copies of one tree are the same bytes.
            let mut names = fs::read_dir(path)
                .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>())
                .map_err(read())?;
            names.sort();
            for below in names {
                self.add(&path.join(&below), &name.join(&below))?;
            }
            Ok(())
        } else if kind.is_symlink() {
            let target = fs::read_link(path).map_err(read())?;
            self.entry(&metadata, EntryType::Symlink, name, Some(&target))
        } else if kind.is_file() {
            self.file(path, name, &metadata)
        } else if self.keep.all && (kind.is_fifo() || kind.is_char_device() || kind.is_block_device()) {
            let kind = match kind {
                kind if kind.is_fifo() => EntryType::Fifo,
                kind if kind.is_char_device() => EntryType::Char,
                _ => EntryType::Block,
            };
            self.entry(&metadata, kind, name, None)
        } else {
            self.summary.skipped += 1;
            Ok(())
        }
    }

    fn file(&mut self, path: &Path, name: &Path, metadata: &Metadata) -> Result<(), CopyError> {
        if metadata.nlink() > 1 {
            let key = (metadata.dev(), metadata.ino());
            if let Some(first) = self.links.get(&key).cloned() {
                return self.entry(metadata, EntryType::Link, name, Some(&first));
            }
            self.links.insert(key, name.to_owned());
        }
        let read = || CopyError::local("read", path);
        // What is opened may no longer be what was looked at: not a link, and nothing that blocks.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).unwrap_or(0);
        let file = File::options().read(true).custom_flags(flags).open(path).map_err(read())?;
        let metadata = file.metadata().map_err(read())?;
        let (mut header, size) = (self.header(&metadata, EntryType::Regular), metadata.len());
        header.set_size(size);
        let mut contents = Counted { file, left: size, failed: None };
        let sent = self.tar.append_data(&mut header, name, &mut contents);
        if let Some(error) = contents.failed {
            return Err(CopyError::Local { what: "read", path: path.to_owned(), source: error });
        }
        sent.map_err(CopyError::Send)?;
        if contents.left > 0 {
            // The tar is broken by now, and is not ended properly: the other side throws it away.
            return Err(CopyError::Shrank { path: path.to_owned() });
        }
        self.summary.entries += 1;
        self.summary.bytes += size;
        Ok(())
    }

    /// An entry without contents.
    fn entry(
        &mut self,
        metadata: &Metadata,
        kind: EntryType,
        name: &Path,
        link: Option<&Path>,
    ) -> Result<(), CopyError> {
        let mut header = self.header(metadata, kind);
        header.set_size(0);
        let sent = match link {
            Some(target) => self.tar.append_link(&mut header, name, target),
            None => self.tar.append_data(&mut header, name, io::empty()),
        };
        self.summary.entries += 1;
        sent.map_err(CopyError::Send)
    }

    fn header(&self, metadata: &Metadata, kind: EntryType) -> Header {
        let mut header = Header::new_gnu();
        header.set_metadata_in_mode(metadata, HeaderMode::Complete);
        header.set_entry_type(kind);
        if matches!(kind, EntryType::Char | EntryType::Block) {
            let (major, minor) = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
            // Cannot fail: this is a GNU header, which has room for both.
            let _ = header.set_device_major(major).and_then(|()| header.set_device_minor(minor));
        }
        if !self.keep.all {
            // What comes from outside belongs to whoever the guest's root is.
            header.set_uid(0);
            header.set_gid(0);
            header.set_mode(metadata.mode() & 0o777);
        }
        header
    }
}

/// A file's contents up to the size that was announced, telling its own errors from the tar's.
struct Counted {
    file: File,
    left: u64,
    failed: Option<io::Error>,
}

impl Read for &mut Counted {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let most = out.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        match self.file.read(&mut out[..most]) {
            Ok(n) => {
                self.left = self.left.saturating_sub(u64::try_from(n).unwrap_or(u64::MAX));
                Ok(n)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let copy = io::Error::from(error.kind());
                self.failed = Some(error);
                Err(copy)
            }
        }
    }
}
