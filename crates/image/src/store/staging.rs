//! Folders for work in progress.
//!
//! A staging folder is locked (flock) for as long as its owner lives. One that can be locked by somebody else has lost its
//! owner, and [`sweep`] removes it. Making and sweeping exclude each other through a lock on `staging/` itself, so that
//! nobody sweeps a folder between its making and its locking.

use super::{StoreError, atomic};
use crate::effect;
use rustix::fs::FlockOperation;
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// A folder that only its owner uses, and that vanishes with it.
#[derive(Debug)]
pub struct Staging {
    folder: Folder,
    /// Held for its lock, until the folder is gone.
    _lock: File,
}

/// A folder that is removed when dropped, unless it has another name by then.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    renamed: bool,
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.renamed {
            // What cannot be removed now is swept, since nobody has its lock any more.
            let _swept_later = effect::remove_folder(&self.path);
        }
    }
}

/// What [`Staging::place`] does when its destination is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It is as good as ours: content-addressed entries are equal.
    Keep,
    /// It is torn or out of date: ours takes its place.
    Replace,
}

/// What [`Staging::place`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// Ours stands at the destination.
    New,
    /// What was there was kept; ours is gone.
    Kept,
}

impl Staging {
    pub(super) fn new(parent: &Path) -> Result<Self, StoreError> {
        let make = || {
            let _making = effect::lock(parent, FlockOperation::LockShared)?;
            let folder = Folder { path: effect::make_some_folder(parent)?, renamed: false };
            let lock = effect::lock(&folder.path, FlockOperation::LockExclusive)?;
            Ok(Self { folder, _lock: lock })
        };
        make().map_err(StoreError::io("make a folder in", parent))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.folder.path
    }

    /// Syncs the folder's files and gives the folder its final name.
    ///
    /// # Errors
    /// When it cannot be done; the destination is as it was, and the folder is removed.
    pub fn place(self, dest: &Path, existing: Existing) -> Result<Placed, StoreError> {
        self.try_place(dest, existing).map_err(StoreError::io("put into place", dest))
    }

    fn try_place(mut self, dest: &Path, existing: Existing) -> io::Result<Placed> {
        for entry in fs::read_dir(self.path())? {
            effect::sync(&File::open(entry?.path())?)?;
        }
        loop {
            match (atomic::rename_new(self.path(), dest), existing) {
                (Err(e), Existing::Keep) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(Placed::Kept),
                (Err(e), Existing::Replace) if e.kind() == io::ErrorKind::AlreadyExists => {}
                (result, _) => {
                    result?;
                    self.folder.renamed = true;
                    return Ok(Placed::New);
                }
            }
            match atomic::exchange(self.path(), dest) {
                // Somebody took the old entry away in between.
                Err(e) if e.kind() == io::ErrorKind::NotFound && self.path().exists() => {}
                // The old entry now has our name, and vanishes with us.
                result => return result.map(|()| Placed::New),
            }
        }
    }
}

pub(super) fn sweep(parent: &Path) -> Result<usize, StoreError> {
    let _sweeping =
        effect::lock(parent, FlockOperation::LockExclusive).map_err(StoreError::io("lock the folder", parent))?;
    let entries = fs::read_dir(parent).map_err(StoreError::io("read the folder", parent))?;
    let (mut swept, mut failure) = (0, None);
    for path in entries.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
        match sweep_one(&path) {
            Ok(true) => swept += 1,
            Ok(false) => {}
            Err(source) => failure = Some(StoreError::io("remove the left-over", path)(source)),
        }
    }
    failure.map_or(Ok(swept), Err)
}

fn sweep_one(path: &Path) -> io::Result<bool> {
    match effect::lock(path, FlockOperation::NonBlockingLockExclusive) {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
        // Its owner removed it meanwhile.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => drop(other?),
    }
    if path.is_dir() {
        effect::remove_folder(path)?
    } else {
        effect::remove(path)?
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().into()).unwrap();
        (dir, store)
    }

    #[test]
    fn a_dropped_folder_is_gone() {
        let (_dir, store) = store();
        let staging = store.stage().unwrap();
        let path = staging.path().to_owned();
        fs::write(path.join("x"), "x").unwrap();
        drop(staging);
        assert!(!path.exists());
    }

    #[test]
    fn only_folders_without_an_owner_are_swept() {
        let (dir, store) = store();
        let alive = store.stage().unwrap();
        let orphan = dir.path().join("staging/orphan");
        fs::create_dir_all(orphan.join("deep")).unwrap();
        assert_eq!(store.sweep_staging().unwrap(), 1);
        assert!(alive.path().exists() && !orphan.exists());
    }

    #[test]
    fn the_first_of_two_equal_entries_stays() {
        let (_dir, store) = store();
        let dest = store.images().join("one");
        for (text, existing, placed, found) in [
            ("first", Existing::Keep, Placed::New, "first"),
            ("second", Existing::Keep, Placed::Kept, "first"),
            ("third", Existing::Replace, Placed::New, "third"),
        ] {
            let staging = store.stage().unwrap();
            fs::write(staging.path().join("x"), text).unwrap();
            assert_eq!(staging.place(&dest, existing).unwrap(), placed);
            assert_eq!(fs::read_to_string(dest.join("x")).unwrap(), found);
        }
        assert_eq!(fs::read_dir(store.root().join("staging")).unwrap().count(), 0);
    }
}
