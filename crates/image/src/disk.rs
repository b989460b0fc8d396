//! A VM's own disks: sparse ext4 images, made in milliseconds.
//!
//! Owns: their file systems. Must not: know VMs, or where their disks belong. A disk appears under its name only when it is
//! whole, and takes no more room on the host than what was written to it.

use crate::cancel::Cancel;
use crate::effect;
use crate::ext4::{self, Ext4Error, Meta, Time, Tree, Volume};
use crate::image::Seed;
use crate::store::{StoreError, atomic};
use banger_model::{ByteSize, wire::guest::label};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Why a disk could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Too small for a file system and its journal.
    #[error("a disk of {size} is too small: the least is {}", ByteSize(ext4::MIN_SIZE))]
    TooSmall {
        /// The size that was asked for.
        size: ByteSize,
    },
    /// The image's seed cannot be read.
    #[error("cannot read the seed {}: pull or import its image again", path.display())]
    Seed {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The host's disk failed or is full.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file system could not be made.
    #[error("cannot make the disk {}", path.display())]
    Ext4 {
        /// The disk.
        path: PathBuf,
        /// Why.
        source: Ext4Error,
    },
}

/// Makes the disk that holds everything a VM changes on its root file system. A file at `path` is replaced.
///
/// # Errors
/// When it is too small or cannot be written; nothing new is at `path` then.
pub fn make_layer(path: &Path, size: ByteSize) -> Result<(), DiskError> {
    let mut tree = Tree::new(Meta::root(0o755, now()));
    let nothing = File::open("/dev/null").map_err(StoreError::io("open", "/dev/null"))?;
    make(path, size, label::LAYER, &mut tree, &nothing)
}

/// Makes the disk that a VM has at `/root`, with what the image has there: `seed` is [`crate::image::ImageFiles::seed`].
/// Without one it is empty. A file at `path` is replaced.
///
/// # Errors
/// When it is too small for that or cannot be written, or the seed cannot be read; nothing new is at `path` then.
pub fn make_work(path: &Path, size: ByteSize, seed: Option<&Path>) -> Result<(), DiskError> {
    let Some(seed_path) = seed else {
        let mut tree = Tree::new(Meta::root(0o700, now()));
        let nothing = File::open("/dev/null").map_err(StoreError::io("open", "/dev/null"))?;
        return make(path, size, label::WORK, &mut tree, &nothing);
    };
    let unreadable = |source| DiskError::Seed { path: seed_path.to_owned(), source };
    let Seed { mut tree, contents } = Seed::open(seed_path).map_err(unreadable)?;
    make(path, size, label::WORK, &mut tree, &contents)
}

fn make(path: &Path, size: ByteSize, label: &str, tree: &mut Tree, contents: &File) -> Result<(), DiskError> {
    let bytes = size.0 - size.0 % ext4::BLOCK as u64;
    if bytes < ext4::MIN_SIZE {
        return Err(DiskError::TooSmall { size });
    }
    let mut uuid = [0; 16];
    rustix::rand::getrandom(&mut uuid, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| StoreError::io("make", path)(error.into()))?;
    // A random UUID says so: version 4, variant 1 of RFC 9562.
    uuid[6] = uuid[6] & 0x0f | 0x40;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    let made = u32::try_from(now().seconds).unwrap_or(u32::MAX);
    let volume = Volume { label, uuid, made };
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    // What a crash left there was never a disk.
    let _not_there = effect::remove(&beside);
    let written = ext4::copy(tree, contents, &beside, bytes, &volume, &Cancel::new())
        .map_err(|source| failure(path, source))
        .and_then(|()| Ok(atomic::rename_over(&beside, path).map_err(StoreError::io("write", path))?));
    if written.is_err() {
        let _already_gone = effect::remove(&beside);
    }
    written
}

fn failure(path: &Path, error: Ext4Error) -> DiskError {
    match error {
        Ext4Error::Io { action, source, .. } => StoreError::io(action, path)(source).into(),
        source => DiskError::Ext4 { path: path.to_owned(), source },
    }
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time { seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanos: since.subsec_nanos() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::process::Command;

    #[expect(clippy::print_stderr, reason = "a check that is left out says so")]
    fn clean(path: &Path) -> bool {
        // An ordinary user's search path has no folder of system programs.
        let Ok(output) = Command::new("e2fsck").env("PATH", "/usr/sbin:/sbin").arg("-fn").arg(path).output() else {
            eprintln!("SKIPPED: e2fsck of {}: e2fsprogs is not installed", path.display());
            return true;
        };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        output.status.success()
    }

    #[test]
    fn a_layer_is_a_clean_sparse_file_system() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("layer");
        make_layer(&path, ByteSize::gib(64)).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.len(), 64 << 30);
        assert!(metadata.blocks() * 512 < 8 << 20, "{} bytes", metadata.blocks() * 512);
        assert!(clean(&path));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn odd_and_small_sizes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("work");
        for size in [ext4::MIN_SIZE, (130 << 20) + 77, (128 << 20) + 4096] {
            make_work(&path, ByteSize(size), None).unwrap();
            assert!(clean(&path));
        }
        let error = make_work(&path, ByteSize(4096), None).unwrap_err().to_string();
        assert_eq!(error, "a disk of 4 KiB is too small: the least is 16 MiB");
    }

    #[test]
    fn a_disk_that_cannot_be_written_names_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none/layer");
        let error = make_layer(&path, ByteSize::gib(1)).unwrap_err().to_string();
        assert!(error.contains("none/layer"), "{error}");
    }
}
