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
