//! Renames that a crash cannot tear: the file is synced before, its folder after.

use crate::effect;
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

/// The folder that holds `path`.
fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Makes the names in a folder durable.
///
/// # Errors
/// When the folder cannot be opened or synced.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    effect::sync(&File::open(dir)?)
}

/// Syncs the file `from`, gives it the name `to` in place of whatever had it, and syncs the folder. Both must be on one
/// file system.
///
/// # Errors
/// As the system calls; `to` is the old or the new file in any case.
pub fn rename_over(from: &Path, to: &Path) -> io::Result<()> {
    effect::sync(&File::open(from)?)?;
    effect::rename(from, to)?;
    sync_dir(&parent(to))
}

/// Takes a file's name away, for good: it does not come back after a power loss.
///
/// # Errors
/// As the system calls.
pub fn remove(path: &Path) -> io::Result<()> {
    effect::remove(path)?;
    sync_dir(&parent(path))
}

/// Moves an entry to another name on the same file system, for good, however torn it is.
///
/// # Errors
/// As the system calls.
pub fn take_away(from: &Path, to: &Path) -> io::Result<()> {
    effect::rename(from, to)?;
    sync_dir(&parent(from))
}

/// As [`rename_over`], for a folder whose files are synced already, and only if nothing has the name yet.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if something has it, else as the system calls.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    effect::sync(&File::open(from)?)?;
    effect::rename_new(from, to)?;
    sync_dir(&parent(to))
}

/// Swaps two entries of one file system; both must be there.
///
/// # Errors
/// As the system calls.
pub fn exchange(from: &Path, to: &Path) -> io::Result<()> {
    effect::sync(&File::open(from)?)?;
    effect::exchange(from, to)?;
    sync_dir(&parent(to))
}
