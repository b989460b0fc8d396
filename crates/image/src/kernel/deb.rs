//! Reading a Debian package without dpkg.
//!
//! Owns: the `ar` container and the tar inside it, as one stream. Must not: write anything, run anything of the package, or
//! judge where it came from (apt has verified it). Used by the catalog to take a kernel and its modules out of a package.

use super::unpack::{self, Compression};
use std::io::{self, BufRead, BufReader, Read};
use std::path::Component;

/// What is wrong with a package.
#[derive(Debug, thiserror::Error)]
pub enum DebError {
    /// It is something else.
    #[error("not a Debian package")]
    NotDeb,
    /// It has no files.
    #[error("the package has no data.tar")]
    NoData,
    /// Its files are packed in a way this program does not know.
    #[error("the package's {member} has an unknown compression; gzip, xz and zstd can be read")]
    Compression {
        /// The member of the `ar` archive.
        member: String,
    },
    /// It cannot be read to its end.
    #[error("the package is unreadable or corrupt")]
    Read(#[source] io::Error),
}

const AR_MAGIC: &[u8; 8] = b"!<arch>\n";
const AR_HEADER: usize = 60;

/// Calls `visit` with the path (relative, without `.` and `..`) and the content of every regular file in `package`, in the
/// order of the package. A content that is not read is skipped.
pub fn for_each_file<E: From<DebError>>(
    package: impl Read,
    mut visit: impl FnMut(&str, &mut dyn Read) -> Result<(), E>,
) -> Result<(), E> {
    let (member, data) = data_member(BufReader::with_capacity(64 << 10, package))?;
    let mut data = BufReader::new(data);
    let head = data.fill_buf().map_err(DebError::Read)?;
    let tar: Box<dyn Read + '_> = match Compression::detect(head) {
        None if member == "data.tar" => Box::new(data),
        Some(compression @ (Compression::Gzip | Compression::Xz | Compression::Zstd)) => {
            unpack::decoder(compression, data).map_err(DebError::Read)?.ok_or(DebError::Compression { member })?
        }
        _ => return Err(DebError::Compression { member }.into()),
    };
    let mut archive = tar::Archive::new(tar);
    for entry in archive.entries().map_err(DebError::Read)? {
        let mut entry = entry.map_err(DebError::Read)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        if let Some(path) = plain_path(&entry.path().map_err(DebError::Read)?) {
            visit(&path, &mut entry)?;
        }
    }
    Ok(())
}

/// Skips to the member that holds the files.
fn data_member<R: BufRead>(mut ar: R) -> Result<(String, io::Take<R>), DebError> {
    let mut magic = [0; AR_MAGIC.len()];
    match ar.read_exact(&mut magic) {
        Ok(()) if &magic == AR_MAGIC => {}
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(DebError::Read(error)),
        _ => return Err(DebError::NotDeb),
    }
    loop {
        if ar.fill_buf().map_err(DebError::Read)?.is_empty() {
            return Err(DebError::NoData);
        }
        let mut header = [0; AR_HEADER];
        ar.read_exact(&mut header).map_err(DebError::Read)?;
        let text = |range: std::ops::Range<usize>| std::str::from_utf8(&header[range]).ok().map(str::trim_end);
        let name = text(0..16).map(|name| name.trim_end_matches('/')).ok_or(DebError::NotDeb)?;
        let size: u64 = text(48..58).and_then(|size| size.parse().ok()).ok_or(DebError::NotDeb)?;
        if header[58..] != *b"`\n" {
            return Err(DebError::NotDeb);
        }
        if name.starts_with("data.tar") {
            return Ok((name.to_owned(), ar.take(size)));
        }
        // Members begin at even offsets.
        let padded = size + size % 2;
        let skipped = io::copy(&mut ar.by_ref().take(padded), &mut io::sink()).map_err(DebError::Read)?;
        if skipped < padded {
            return Err(DebError::Read(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

/// `path` relative to the root, if it is UTF-8 and stays below it.
fn plain_path(path: &std::path::Path) -> Option<String> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tar with one file of each kind that matters.
    fn tree() -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut add = |path: &str, content: &[u8]| {
            let mut header = tar::Header::new_gnu();
            // Written as it is: the tar library itself would refuse what is hostile.
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            tar.append(&header, content).unwrap();
        };
        add("./boot/vmlinuz-6.1", b"kernel");
        add("../../etc/passwd", b"hostile");
        add("/lib/modules/6.1/a.ko", b"module");
        tar.into_inner().unwrap()
    }

    fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = AR_MAGIC.to_vec();
        for (name, content) in members {
            bytes.extend(
                format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, content.len()).into_bytes(),
            );
            bytes.extend_from_slice(content);
            bytes.resize(bytes.len().next_multiple_of(2), b'\n');
        }
        bytes
    }

    fn read(package: &[u8]) -> Result<Vec<(String, String)>, DebError> {
        let mut found = Vec::new();
        for_each_file(package, |path, content| {
            let mut text = String::new();
            content.read_to_string(&mut text).map_err(DebError::Read)?;
            found.push((path.to_owned(), text));
            Ok::<(), DebError>(())
        })?;
        Ok(found)
    }

    fn package(data: &str, content: &[u8]) -> Vec<u8> {
        ar(&[("debian-binary", b"2.0\n"), ("control.tar.xz", b"odd"), (data, content)])
    }

    #[test]
    fn files_come_out_of_every_compression_and_stay_below_the_root() {
        let expected = [("boot/vmlinuz-6.1", "kernel"), ("lib/modules/6.1/a.ko", "module")];
        let expected = expected.map(|(path, text)| (path.to_owned(), text.to_owned()));
        let zstd = zstd::encode_all(tree().as_slice(), 1).unwrap();
        for (member, content) in [("data.tar", tree()), ("data.tar.zst/", zstd.clone()), ("data.tar.xz", zstd)] {
            assert_eq!(read(&package(member, &content)).unwrap(), expected, "{member}");
        }
    }

    #[test]
    fn what_is_no_package_is_told_apart() {
        let kind = |bytes: &[u8]| read(bytes).unwrap_err();
        assert!(matches!(kind(b""), DebError::NotDeb));
        assert!(matches!(kind(b"PK\x03\x04 something else"), DebError::NotDeb));
        assert!(matches!(kind(&ar(&[("debian-binary", b"2.0\n")])), DebError::NoData));
        assert!(matches!(kind(&package("data.tar.lzma", b"\x5d\0\0\x80")), DebError::Compression { .. }));
        assert!(matches!(kind(&package("data.tar.xz", b"not xz")), DebError::Compression { .. }));
        let whole = package("data.tar", &tree());
        for length in [AR_MAGIC.len() + 10, AR_MAGIC.len() + AR_HEADER + 1, whole.len() - 1200] {
            assert!(matches!(kind(&whole[..length]), DebError::Read(_)), "{length}");
        }
        let mut wrong = whole;
        wrong[AR_MAGIC.len() + 58] = b'x';
        assert!(matches!(kind(&wrong), DebError::NotDeb));
    }
}
