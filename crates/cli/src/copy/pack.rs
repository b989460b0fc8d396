//! A local file or folder becomes a tar. Links are sent as links, as `cp -a` copies them.

use super::{
    CopyError, Keep, Summary,
    local::Source,
    sparse::{self, Data, Piece},
};
use std::{
    collections::HashMap,
    fs::{self, File, Metadata},
    io::{self, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    },
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
        let (header, size) = (self.header(&metadata, EntryType::Regular), metadata.len());
        let pieces = sparse::pieces(&file, size).map_err(read())?;
        let mut contents = Data::new(file, pieces.clone());
        let sent = match pieces.as_slice() {
            [(0, length)] if *length == size => self.whole(header, name, size, &mut contents),
            pieces => self.holes(header, name, size, pieces, &mut contents),
        };
        if let Some(error) = contents.failed {
            return Err(CopyError::Local { what: "read", path: path.to_owned(), source: error });
        }
        sent.map_err(CopyError::Send)?;
        if contents.left() > 0 {
            // The tar is broken by now, and is not ended properly: the other side throws it away.
            return Err(CopyError::Shrank { path: path.to_owned() });
        }
        self.summary.entries += 1;
        self.summary.bytes += size;
        Ok(())
    }

    fn whole(&mut self, mut header: Header, name: &Path, size: u64, contents: &mut Data) -> io::Result<()> {
        header.set_size(size);
        self.tar.append_data(&mut header, name, contents)
    }

    /// A file with holes: where they are is told, and only what lies between them is sent.
    fn holes(
        &mut self,
        mut header: Header,
        name: &Path,
        size: u64,
        pieces: &[Piece],
        mut contents: &mut Data,
    ) -> io::Result<()> {
        if header.set_path(name).is_err() {
            // It is too long for the header, and is told before it.
            self.tar.append_pax_extensions([("path", name.as_os_str().as_bytes())])?;
        }
        let out = self.tar.get_mut();
        out.write_all(&sparse::head(header, size, pieces))?;
        let sent = io::copy(&mut contents, out)?;
        let padding = usize::try_from(sent.next_multiple_of(sparse::BLOCK) - sent).unwrap_or_default();
        out.write_all(&vec![0; padding])
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        os::unix::fs::FileExt,
        process::{Command, Stdio},
    };

    fn packed(path: &Path) -> Vec<u8> {
        let source = Source { path: path.to_owned(), name: path.file_name().unwrap().to_owned() };
        let mut out = Vec::new();
        pack(&mut out, &source, Keep { all: false }).unwrap();
        out
    }

    #[test]
    fn holes_are_told_and_not_sent() {
        let folder = tempfile::tempdir().unwrap();
        let (source, target) = (folder.path().join("source"), folder.path().join("target"));
        fs::create_dir(&source).unwrap();
        fs::create_dir(&target).unwrap();
        let sparse = |name: &str, data: &[(u64, &[u8])], size: u64| {
            let file = File::create(source.join(name)).unwrap();
            data.iter().for_each(|(at, bytes)| file.write_all_at(bytes, *at).unwrap());
            file.set_len(size).unwrap();
        };
        // More pieces than one header has room for, and than the next one.
        let many: Vec<(u64, &[u8])> = (0..60).map(|piece| (piece * 65_536, &b"x"[..])).collect();
        sparse("many", &many, 60 * 65_536);
        sparse("ends-with-data", &[(1 << 20, b"one"), ((64 << 30) - 5, b"three")], 64 << 30);
        sparse("only-a-hole", &[], 32 << 30);
        sparse(&"n".repeat(150), &[(8 << 20, b"long")], 9 << 20);
        sparse("plain", &[(0, b"no hole")], 7);
        sparse("empty", &[], 0);
        let tar = packed(&source);
        assert!(tar.len() < 2 << 20, "{} bytes for a few of data", tar.len());

        let mut reader = Command::new("tar").arg("-xSC").arg(&target).stdin(Stdio::piped()).spawn().unwrap();
        reader.stdin.take().unwrap().write_all(&tar).unwrap();
        assert!(reader.wait().unwrap().success());
        for entry in fs::read_dir(&source).unwrap().map(Result::unwrap) {
            let (before, after) = (entry.path(), target.join("source").join(entry.file_name()));
            let (was, is) = (fs::metadata(&before).unwrap(), fs::metadata(&after).unwrap());
            assert_eq!((was.len(), was.mtime()), (is.len(), is.mtime()), "{}", before.display());
            let (before, after) = (File::open(&before).unwrap(), File::open(&after).unwrap());
            for (start, length) in sparse::pieces(&before, was.len()).unwrap() {
                let bytes = |file: &File| {
                    let mut bytes = vec![0; usize::try_from(length).unwrap()];
                    file.read_exact_at(&mut bytes, start).unwrap();
                    bytes
                };
                assert!(bytes(&before) == bytes(&after), "{start} of {:?}", entry.file_name());
            }
        }
    }
}
