//! The folder that holds everything shared between VMs.
//!
//! Layout below the root (all folders 0700):
//!
//! | path | what |
//! |---|---|
//! | `images/HEX/` | one image per digest: `image.ext4`, `seed.json`, `manifest.json` |
//! | `image-names/NAME.json` | which digest a reference means |
//! | `kernels/HEX/`, `kernel-names/NAME.json` | the same for kernels |
//! | `initramfs/HEX.cpio` | made from a kernel and an agent |
//! | `staging/` | work in progress; see [`Staging`] |
//!
//! Invariants: an entry appears under its final name only when it is whole and synced, and never changes after; it is
//! made in `staging/` and renamed into place. Nothing here knows what is inside an image or a kernel.

pub mod atomic;
mod lengths;
mod staging;

pub use lengths::Lengths;
pub use staging::{Existing, Placed, Staging};

use crate::effect;
use banger_model::Digest;
use rustix::fs::FlockOperation;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

const IMAGES: &str = "images";
const IMAGE_NAMES: &str = "image-names";
const KERNELS: &str = "kernels";
const KERNEL_NAMES: &str = "kernel-names";
const INITRAMFS: &str = "initramfs";
const STAGING: &str = "staging";
/// How the name of an initramfs ends.
const CPIO: &str = ".cpio";

/// The store's folder. Cheap to clone; any number of them may work on one root at the same time.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// The store's own folders or files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file operation failed; the subject is `path`.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The disk that holds the store has no room.
    #[error("no space left on the disk that holds {}: free some, or move the data folder", path.display())]
    Full {
        /// What was being written.
        path: PathBuf,
    },
    /// A file is not as long as it was made.
    #[error(
        "{} is damaged: it should have {expected} bytes and has {found}; pull or import what it belongs to again",
        path.display()
    )]
    Torn {
        /// The file.
        path: PathBuf,
        /// In bytes, as its manifest says.
        expected: u64,
        /// In bytes; none for a file that is not there.
        found: u64,
    },
}

impl StoreError {
    /// For `map_err`: tells a full disk from other failures.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path },
            _ => Self::Io { action, path, source },
        }
    }
}

impl Store {
    /// Opens the store at `root`, making its folders where they are missing.
    ///
    /// # Errors
    /// When a folder cannot be made, or is not ours to write.
    pub fn open(root: PathBuf) -> Result<Self, StoreError> {
        let store = Self { root };
        for name in [IMAGES, IMAGE_NAMES, KERNELS, KERNEL_NAMES, INITRAMFS, STAGING] {
            let path = store.root.join(name);
            effect::make_private_folders(&path).map_err(StoreError::io("make the folder", &path))?;
            rustix::fs::access(&path, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK)
                .map_err(|e| StoreError::io("write in the folder", &path)(e.into()))?;
        }
        Ok(store)
    }

    /// The store's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where images are, one folder each, named by [`Digest::hex`].
    pub fn images(&self) -> PathBuf {
        self.root.join(IMAGES)
    }

    /// The folder of an image, whether it is there or not.
    pub fn image(&self, digest: &Digest) -> PathBuf {
        self.images().join(digest.hex())
    }

    /// The images that are in the store, in no order.
    ///
    /// # Errors
    /// When their folder cannot be read.
    pub(crate) fn digests_of_images(&self) -> Result<Vec<Digest>, StoreError> {
        digests(&self.images(), "")
    }

    /// Where the names of images are.
    pub fn image_names(&self) -> PathBuf {
        self.root.join(IMAGE_NAMES)
    }

    /// Where kernels are, one folder each, named by [`Digest::hex`].
    pub fn kernels(&self) -> PathBuf {
        self.root.join(KERNELS)
    }

    /// The folder of a kernel, whether it is there or not.
    pub fn kernel(&self, digest: &Digest) -> PathBuf {
        self.kernels().join(digest.hex())
    }

    /// The kernels that are in the store, in no order.
    ///
    /// # Errors
    /// When their folder cannot be read.
    pub(crate) fn digests_of_kernels(&self) -> Result<Vec<Digest>, StoreError> {
        digests(&self.kernels(), "")
    }

    /// Where the names of kernels are.
    pub fn kernel_names(&self) -> PathBuf {
        self.root.join(KERNEL_NAMES)
    }

    /// The initramfs with that digest, whether it is there or not.
    pub fn initramfs(&self, digest: &Digest) -> PathBuf {
        self.root.join(INITRAMFS).join(format!("{}{CPIO}", digest.hex()))
    }

    /// Those that are in the store, in no order.
    ///
    /// # Errors
    /// When their folder cannot be read.
    pub(crate) fn digests_of_initramfs(&self) -> Result<Vec<Digest>, StoreError> {
        digests(&self.root.join(INITRAMFS), CPIO)
    }

    /// A new folder for work in progress. It vanishes when dropped, unless placed.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn stage(&self) -> Result<Staging, StoreError> {
        Staging::new(&self.root.join(STAGING))
    }

    /// Removes what owners that are gone have left in `staging/`, and says how many there were. Safe at any time.
    ///
    /// # Errors
    /// When a left-over cannot be removed; the others are removed all the same.
    pub fn sweep_staging(&self) -> Result<usize, StoreError> {
        staging::sweep(&self.root.join(STAGING))
    }

    /// Held while a name is given, or taken away together with what it meant, so that nothing goes with its last name while
    /// it gets another one. `names` is the folder of the names. Whoever has it has it for a moment.
    pub(crate) fn naming(&self, names: &Path) -> Result<fs::File, StoreError> {
        effect::lock(names, FlockOperation::LockExclusive).map_err(StoreError::io("lock the folder", names))
    }

    /// Writes a small file of the store: a reader sees the old bytes, or the new, or no file, and so after a crash.
    ///
    /// # Errors
    /// When it cannot be written; the old file is untouched then.
    pub fn write_file(&self, dest: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let staging = self.stage()?;
        let path = staging.path().join("file");
        effect::write(&path, bytes).map_err(StoreError::io("write", dest))?;
        atomic::rename_over(&path, dest).map_err(StoreError::io("write", dest))
    }
}

/// What the entries of `folder` are that are named by a digest and end so.
fn digests(folder: &Path, end: &str) -> Result<Vec<Digest>, StoreError> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let names = entries.map_err(StoreError::io("read the folder", folder))?.into_iter().map(|entry| entry.file_name());
    Ok(names.filter_map(|name| format!("sha256:{}", name.to_str()?.strip_suffix(end)?).parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opening_twice_is_fine_and_a_file_in_the_way_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("a/b");
        Store::open(root.clone()).unwrap();
        Store::open(root).unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Store::open(file.clone()).unwrap_err().to_string();
        assert!(error.contains(&*file.join(IMAGES).to_string_lossy()), "{error}");
    }

    #[test]
    fn small_files_are_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().into()).unwrap();
        let dest = store.image_names().join("x.json");
        store.write_file(&dest, b"one").unwrap();
        store.write_file(&dest, b"two").unwrap();
        assert_eq!(fs::read(&dest).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path().join(STAGING)).unwrap().count(), 0);
    }
}
