//! Files inside a tar archive, read where they are.
//!
//! Owns: the list of an archive's files and where each lies. Must not: unpack anything, or follow a name out of the archive:
//! names are only ever looked up in the list. For archives of images: a handful of large files.

use super::section::Section;
use super::{Encoding, InvalidImage, SourceError, rootfs::open_file};
use crate::cancel::Cancel;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Component, Path};
use std::sync::Arc;

/// The most files an archive may have. Real ones have three for each layer.
const MAX_FILES: usize = 100_000;
/// The most that is read for the list, in bytes: headers, and names too long for one. Contents are skipped, not read.
const MAX_LIST: u64 = 64 << 20;
/// The most links that one name may lead through.
const MAX_LINKS: usize = 8;

/// An archive whose list has been read.
#[derive(Debug)]
pub(super) struct Archive {
    subject: String,
    file: Arc<File>,
    entries: HashMap<String, Entry>,
}

#[derive(Debug)]
enum Entry {
    File { at: u64, length: u64 },
    Link { target: String },
}

impl Archive {
    /// Reads the list of the archive at `path`.
    pub(super) fn open(path: &Path, cancel: &Cancel) -> Result<Self, SourceError> {
        let (file, length) = open_file(path)?;
        let subject = path.display().to_string();
        let invalid = |source| SourceError::Image { subject: subject.clone(), source };
        let compression = {
            let mut head = Vec::new();
            io::Read::read_to_end(&mut Section::new(Arc::new(clone(&file, path)?), 0, 6), &mut head)
                .map_err(|source| SourceError::File { path: path.to_owned(), source })?;
            Encoding::detect(&head).name()
        };
        if let Some(compression) = compression {
            return Err(invalid(InvalidImage::Compressed { compression }));
        }
        let entries = list(BufReader::new(&file), length, cancel).map_err(|error| match error {
            ListError::Cancelled => SourceError::Cancelled,
            ListError::Invalid(source) => invalid(source),
        })?;
        Ok(Self { subject, file: Arc::new(file), entries })
    }

    /// What errors call it.
    pub(super) fn subject(&self) -> &str {
        &self.subject
    }

    /// The file called `name` and its length in bytes. Links inside the archive are followed.
    pub(super) fn file(&self, name: &str) -> Result<(Section, u64), SourceError> {
        let mut at = name;
        for _ in 0..MAX_LINKS {
            match self.entries.get(at) {
                Some(Entry::File { at, length }) => {
                    return Ok((Section::new(Arc::clone(&self.file), *at, *length), *length));
                }
                Some(Entry::Link { target }) => at = target,
                None => break,
            }
        }
        let source = InvalidImage::Missing { name: name.to_owned() };
        Err(SourceError::Image { subject: self.subject.clone(), source })
    }

    /// All of the file called `name`, at most one byte more than `limit`.
    pub(super) fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, SourceError> {
        let (section, _) = self.file(name)?;
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(section, limit + 1), &mut bytes)
            .map_err(|source| SourceError::File { path: self.subject.clone().into(), source })?;
        Ok(bytes)
    }
}

fn clone(file: &File, path: &Path) -> Result<File, SourceError> {
    file.try_clone().map_err(|source| SourceError::File { path: path.to_owned(), source })
}

enum ListError {
    Invalid(InvalidImage),
    Cancelled,
}

fn list(tar: BufReader<&File>, length: u64, cancel: &Cancel) -> Result<HashMap<String, Entry>, ListError> {
    let broken = |source| ListError::Invalid(InvalidImage::Tar(source));
    let mut archive = tar::Archive::new(Listed { inner: tar, left: MAX_LIST });
    let mut found = HashMap::new();
    for entry in archive.entries_with_seek().map_err(broken)? {
        cancel.check().map_err(|_| ListError::Cancelled)?;
        let entry = entry.map_err(broken)?;
        // A name that leads out of the archive cannot be asked for.
        let Some(name) = inside("", &entry.path().map_err(broken)?) else { continue };
        let kind = entry.header().entry_type();
        let entry = if kind.is_file() {
            let (at, size) = (entry.raw_file_position(), entry.size());
            if at.checked_add(size).is_none_or(|end| end > length) {
                return Err(ListError::Invalid(InvalidImage::Truncated { name }));
            }
            Entry::File { at, length: size }
        } else if kind.is_symlink() || kind.is_hard_link() {
            let target = entry.link_name().map_err(broken)?;
            // A symbolic link is relative to where it lies, a hard link to the archive's root.
            let base = name.rsplit_once('/').map_or("", |(folder, _)| folder);
            let base = if kind.is_symlink() { base } else { "" };
            let Some(target) = target.and_then(|target| inside(base, &target)) else { continue };
            Entry::Link { target }
        } else {
            continue;
        };
        found.insert(name, entry);
        if found.len() > MAX_FILES {
            return Err(ListError::Invalid(InvalidImage::TooMany { limit: MAX_FILES }));
        }
    }
    Ok(found)
}

/// What a list is read from. The library keeps names whole, however long they say they are, so there must be an end.
struct Listed<R> {
    inner: R,
    left: u64,
}

impl<R: io::Read> io::Read for Listed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| io::Error::other("its list has no end"))?;
        Ok(read)
    }
}

impl<R: io::Seek> io::Seek for Listed<R> {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

/// `path`, seen from `base`, without `.` and `..`; `None` if it leads out or is not UTF-8.
fn inside(base: &str, path: &Path) -> Option<String> {
    let mut parts: Vec<&str> = base.split('/').filter(|part| !part.is_empty()).collect();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::ParentDir => drop(parts.pop()?),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => parts.clear(),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    enum Put<'a> {
        File(&'a str, &'a [u8]),
        Link(tar::EntryType, &'a str, &'a str),
    }
    use Put::{File as F, Link as L};

    /// A tar of hostile names; the tar library itself would not write them.
    fn tar(entries: &[Put<'_>]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for entry in entries {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            let content: &[u8] = match entry {
                F(name, content) => {
                    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
                    header.set_size(content.len() as u64);
                    content
                }
                L(kind, name, target) => {
                    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
                    header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
                    header.set_entry_type(*kind);
                    header.set_size(0);
                    b""
                }
            };
            header.set_cksum();
            tar.append(&header, content).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn open(bytes: &[u8]) -> Result<Archive, SourceError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        Archive::open(file.path(), &Cancel::new())
    }

    fn invalid<T: std::fmt::Debug>(result: Result<T, SourceError>) -> InvalidImage {
        match result {
            Err(SourceError::Image { source, .. }) => source,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn files_are_read_in_place_and_links_stay_inside() {
        let symlink = tar::EntryType::Symlink;
        let archive = open(&tar(&[
            F("./index.json", b"{}"),
            F("/a/layer.tar", b"layer"),
            L(symlink, "b/layer.tar", "../a/layer.tar"),
            L(tar::EntryType::Link, "c", "a/layer.tar"),
            L(symlink, "out", "../../etc/passwd"),
            L(symlink, "round", "round"),
            F("../../escaped", b"x"),
        ]))
        .unwrap();
        assert_eq!(archive.read("index.json", 10).unwrap(), b"{}");
        for name in ["a/layer.tar", "b/layer.tar", "c"] {
            assert_eq!(archive.read(name, 10).unwrap(), b"layer", "{name}");
        }
        // Two readers of one file do not disturb each other, and a limit ends one byte late.
        let (mut one, _) = archive.file("c").unwrap();
        one.read_exact(&mut [0; 2]).unwrap();
        assert_eq!(archive.read("c", 3).unwrap(), b"laye");
        assert_eq!(io::read_to_string(one).unwrap(), "yer");
        for name in ["out", "round", "escaped", "../../escaped", "etc/passwd", "/etc/passwd"] {
            assert!(matches!(invalid(archive.read(name, 10)), InvalidImage::Missing { .. }), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_read_in_place_is_refused() {
        let whole = tar(&[F("a", &[1; 2000])]);
        assert!(matches!(invalid(open(&whole[..1500])), InvalidImage::Truncated { .. }));
        assert!(matches!(invalid(open(&whole[..300])), InvalidImage::Tar(_)));
        assert!(matches!(invalid(open(b"\x1f\x8b\x08")), InvalidImage::Compressed { compression: "gzip" }));
        assert!(matches!(invalid(open(&[b'x'; 2048])), InvalidImage::Tar(_)));
        assert!(open(b"").unwrap().entries.is_empty());
    }
}
