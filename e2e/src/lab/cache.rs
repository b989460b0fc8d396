//! What is made once and kept below the target folder, named by the content it is made of.

use super::LabError;
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};
use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

/// The folder of kept things, and the right to change it.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    /// Held until the cache is dropped: two labs may be made at once.
    _lock: File,
}

/// What a thing is made of.
#[derive(Debug, Default)]
pub struct Key(Sha256);

impl Key {
    /// Adds a text.
    pub fn text(mut self, text: &str) -> Self {
        self.0.update(text.len().to_le_bytes());
        self.0.update(text);
        self
    }

    /// Adds a file's content.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn file(mut self, path: &Path) -> Result<Self, LabError> {
        let mut file = File::open(path).map_err(LabError::io("open", path))?;
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer).map_err(LabError::io("read", path))? {
                0 => return Ok(self.text("")),
                length => self.0.update(&buffer[..length]),
            }
        }
    }

    /// Enough of it for a name.
    pub fn finish(self) -> String {
        self.0.finalize().iter().take(10).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Cache {
    /// The one below this target folder. Waits for another lab that is being made.
    ///
    /// # Errors
    /// When the folder cannot be made or locked.
    pub fn open(target: &Path) -> Result<Self, LabError> {
        let folder = target.join("lab-cache");
        fs::create_dir_all(&folder).map_err(LabError::io("make", &folder))?;
        let path = folder.join("lock");
        let lock = File::create(&path).map_err(LabError::io("make", &path))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            eprintln!("lab: waiting for another lab, which is being made in {}", folder.display());
            flock(&lock, FlockOperation::LockExclusive).map_err(|error| LabError::io("lock", &path)(error.into()))?;
        }
        Ok(Self { folder, _lock: lock })
    }

    /// The folder of the `kind` of thing that is made of `key`. When it is not there, `make` fills a fresh one, and those of
    /// the same kind and another key go.
    ///
    /// # Errors
    /// Those of `make`; or when files cannot be moved.
    pub fn get(
        &self,
        kind: &str,
        key: &str,
        make: impl FnOnce(&Path) -> Result<(), LabError>,
    ) -> Result<PathBuf, LabError> {
        let path = self.folder.join(format!("{kind}-{key}"));
        if path.is_dir() {
            return Ok(path);
        }
        let entries = fs::read_dir(&self.folder).map_err(LabError::io("read", &self.folder))?;
        for old in
            entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(&format!("{kind}-")))
        {
            fs::remove_dir_all(old.path()).map_err(LabError::io("remove", old.path()))?;
        }
        let fresh = self.folder.join(format!("{kind}-new"));
        fs::create_dir(&fresh).map_err(LabError::io("make", &fresh))?;
        make(&fresh)?;
        fs::rename(&fresh, &path).map_err(LabError::io("move", &fresh))?;
        Ok(path)
    }
}

/// Copies a file as a hard link, or by content where that is not possible.
///
/// # Errors
/// When neither is.
pub fn link(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(drop))
}
