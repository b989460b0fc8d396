//! How long the files of an entry are, kept in its manifest: one that was cut off, or never written to its end, is known
//! without reading it. What is inside is not looked at: an image is gigabytes, and is opened at every start of a VM.

use super::StoreError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

/// Lengths in bytes by file name. Empty in manifests of versions that did not keep them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lengths(BTreeMap<String, u64>);

impl Lengths {
    /// Of the files that are in `folder` now.
    pub(crate) fn of(folder: &Path) -> Result<Self, StoreError> {
        let look = || -> io::Result<BTreeMap<String, u64>> {
            let mut lengths = BTreeMap::new();
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                lengths.insert(entry.file_name().to_string_lossy().into_owned(), entry.metadata()?.len());
            }
            Ok(lengths)
        };
        look().map(Self).map_err(StoreError::io("read the folder", folder))
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Refuses a folder whose files are not as long as they were made.
    pub(crate) fn check(&self, folder: &Path) -> Result<(), StoreError> {
        for (name, expected) in &self.0 {
            let path = folder.join(name);
            let found = match fs::metadata(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
                found => found.map_err(StoreError::io("read", &path))?.len(),
            };
            if found != *expected {
                return Err(StoreError::Torn { path, expected: *expected, found });
            }
        }
        Ok(())
    }
}
