//! Files that a guest or its VMM can make grow for ever: consoles and logs.
//!
//! Nobody of ours stands between a VMM and its files, because VMs outlive us. So a file is cut while the VMM writes on: its
//! beginning is given back to the file system by making it a hole. Nothing that is written meanwhile is lost, offsets stay as
//! they are, and a reader that goes on from where it was need not know. What was there reads as zeros; [`Reader`] skips it.

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, ftruncate, seek};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// How `st_blocks` counts, in bytes: stat(2).
const BLOCK: u64 = 512;
/// No file system has larger pages; a hole of anything less gives nothing back.
const PAGE: u64 = 64 * 1024;
/// Beyond this length, in bytes, a file begins anew, long before any file system refuses to let it grow.
const LONGEST: u64 = 1 << 40;

/// Cuts the file when it takes more than `most` bytes of the disk, so that at least the last half of that is left. Whether it
/// had to be. A file system that makes no holes loses all that is there, which takes a VMM that only ever appends.
///
/// # Errors
/// When the file cannot be opened or changed. That it is not there is none.
pub fn trim(path: &Path, most: u64) -> io::Result<bool> {
    let opened = OpenOptions::new().write(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC).open(path);
    let file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file?,
    };
    let meta = file.metadata()?;
    if meta.blocks().saturating_mul(BLOCK) <= most {
        return Ok(false);
    }
    let hole = meta.len().saturating_sub(most / 2) / PAGE * PAGE;
    if hole == 0 {
        // What it takes beyond its length is the file system's, which expects it to grow.
        return Ok(false);
    }
    let cut = match fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, hole) {
        Ok(()) if meta.len() < LONGEST => return Ok(true),
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => ftruncate(&file, 0),
        Err(errno) => Err(errno),
    };
    Ok(cut.map(|()| true)?)
}

/// Gives all that lies before `offset` back to the file system. One that makes no holes keeps it.
///
/// # Errors
/// When the file cannot be opened or changed.
pub(crate) fn let_go(path: &Path, offset: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC).open(path)?;
    match offset / PAGE * PAGE {
        0 => Ok(()),
        hole => match fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, hole) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(errno) => Err(errno.into()),
        },
    }
}

/// Reads such a file from its beginning, or from where it was not cut off, and goes on when more was written.
#[derive(Debug)]
pub struct Reader {
    file: File,
    at: u64,
}

impl Reader {
    /// Of the file at `path`.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_at(path, 0)
    }

    /// Of the file at `path`, from that offset on.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open_at(path: &Path, at: u64) -> io::Result<Self> {
        Ok(Self { file: File::open(path)?, at })
    }

    /// The length of the file now.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn length(&self) -> io::Result<u64> {
        self.file.metadata().map(|meta| meta.len())
    }

    /// The offset of what comes next.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// The next bytes, at most so many; none at the end.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn next(&mut self, most: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; most];
        loop {
            if self.length()? < self.at {
                // It has begun anew.
                self.at = 0;
            }
            let begin = self.at;
            let n = self.file.read_at(&mut bytes, begin)?;
            // Looked at after reading: what was cut meanwhile has been read as zeros, and is skipped.
            let there = self.first_data(begin)?.min(begin.saturating_add(n as u64));
            self.at = begin.saturating_add(n as u64);
            if n == 0 {
                return Ok(Vec::new());
            }
            let skipped = usize::try_from(there - begin).unwrap_or(n);
            if skipped < n {
                bytes.truncate(n);
                bytes.drain(..skipped);
                return Ok(bytes);
            }
            // All of it was a hole: on to its end at once.
            self.at = self.first_data(begin)?;
        }
    }

    /// Where there is something at or behind that offset: the end of the file if nothing is.
    fn first_data(&self, from: u64) -> io::Result<u64> {
        match seek(&self.file, SeekFrom::Data(from)) {
            Ok(at) => Ok(at),
            Err(Errno::NXIO) => self.length(),
            // A file system that does not know its holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(from),
            Err(errno) => Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const MOST: u64 = 256 * 1024;

    fn line(number: u32) -> String {
        format!("line {number:>10} {}\n", "x".repeat(83))
    }

    fn read_all(reader: &mut Reader) -> String {
        let mut all = Vec::new();
        loop {
            let bytes = reader.next(10_000).unwrap();
            if bytes.is_empty() {
                return String::from_utf8(all).unwrap();
            }
            all.extend(bytes);
        }
    }

    #[test]
    fn a_file_that_is_written_without_end_stays_small_and_its_reader_misses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        assert!(!trim(&path, MOST).unwrap(), "it is not there");
        let mut file = OpenOptions::new().append(true).create(true).open(&path).unwrap();
        let mut follower = Reader::open(&path).unwrap();
        let (mut seen, mut cut) = (String::new(), 0);
        for number in 0..30_000 {
            file.write_all(line(number).as_bytes()).unwrap();
            if number % 500 == 0 {
                cut += u32::from(trim(&path, MOST).unwrap());
                let disk = std::fs::metadata(&path).unwrap().blocks() * BLOCK;
                assert!(disk <= MOST + 2 * PAGE, "{disk} bytes at line {number}");
                seen.push_str(&read_all(&mut follower));
            }
        }
        assert!(cut > 5, "{cut}");
        seen.push_str(&read_all(&mut follower));
        assert!(seen.lines().count() == 30_000 && !seen.contains('\0'), "{} lines", seen.lines().count());

        let late = read_all(&mut Reader::open(&path).unwrap());
        assert!(late.ends_with(&line(29_999)) && !late.contains('\0'));
        assert!(late.len() as u64 >= MOST / 2 && late.len() as u64 <= MOST + 2 * PAGE, "{}", late.len());
    }

    #[test]
    fn a_reader_that_is_left_behind_goes_on_where_something_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, (0..20_000).map(line).collect::<String>()).unwrap();
        let mut reader = Reader::open(&path).unwrap();
        assert!(reader.next(100).unwrap().starts_with(b"line          0"));
        assert!(trim(&path, MOST).unwrap());
        assert!(!trim(&path, MOST).unwrap(), "once is enough");
        let rest = read_all(&mut reader);
        assert!(!rest.contains('\0') && rest.ends_with(&line(19_999)));
    }

    #[test]
    fn a_file_that_begins_anew_is_read_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "the first, which is longer").unwrap();
        let mut reader = Reader::open(&path).unwrap();
        read_all(&mut reader);
        std::fs::write(&path, "second").unwrap();
        assert_eq!(read_all(&mut reader), "second");
    }

    #[test]
    fn a_link_in_the_place_of_a_log_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("log"), folder.path().join("other"));
        std::fs::write(&other, vec![b'x'; 1 << 20]).unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        assert!(trim(&path, MOST).is_err());
        assert_eq!(std::fs::read(&other).unwrap(), vec![b'x'; 1 << 20]);
    }
}
