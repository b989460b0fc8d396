//! What this crate does to files that it keeps: every change goes through a function here, and each of these is one step.
//!
//! Owns nothing. A step that fails may have had its effect all the same. What comes after any of them, a power loss
//! included, has to make sense, so tests make each one fail, or be the last that a process does ([`plan`]). Elsewhere a step
//! is the system call and nothing more. The linter refuses any other way to change a file.

#![allow(clippy::disallowed_methods, reason = "this is the one place")]

#[cfg(test)]
pub(crate) mod plan;

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};

/// A change, which tests know by that name.
#[inline]
fn step<T>(name: &'static str, change: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    #[cfg(test)]
    return plan::step(name, change);
    #[cfg(not(test))]
    {
        let _for_tests = name;
        change()
    }
}

/// A change that writes `bytes`: it may have been only begun.
#[inline]
fn write_step<T>(name: &'static str, bytes: &[u8], mut change: impl FnMut(&[u8]) -> io::Result<T>) -> io::Result<T> {
    step(name, || {
        #[cfg(test)]
        plan::midway(|| change(&bytes[..bytes.len() / 2]))?;
        change(bytes)
    })
}

/// Makes a folder of that name.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    step("make a folder", || fs::create_dir(path))
}

/// Makes a folder that only its owner may use, with those above it, where they are missing.
pub(crate) fn make_private_folders(path: &Path) -> io::Result<()> {
    step("make private folders", || fs::DirBuilder::new().recursive(true).mode(0o700).create(path))
}

/// Makes a folder in `parent`, of a name that nobody has.
pub(crate) fn make_some_folder(parent: &Path) -> io::Result<PathBuf> {
    step("make some folder", || Ok(tempfile::TempDir::new_in(parent)?.keep()))
}

/// Opens a folder and locks it, for as long as the handle lives.
pub(crate) fn lock(folder: &Path, operation: FlockOperation) -> io::Result<File> {
    step("lock a folder", || {
        let file = File::open(folder)?;
        flock(&file, operation)?;
        Ok(file)
    })
}

/// Makes a file that must not be there, to be written and read.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    step("create", || File::options().read(true).write(true).create_new(true).open(path))
}

/// Makes a file in `folder` that has no name and goes with its handle.
pub(crate) fn scratch(folder: &Path) -> io::Result<File> {
    step("make a scratch file", || tempfile::tempfile_in(folder))
}

/// Writes a whole file.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_step("write a file", bytes, |bytes| fs::write(path, bytes))
}

/// Writes a piece of a file.
pub(crate) fn write_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    write_step("write", bytes, |bytes| file.write_all_at(bytes, at))
}

/// Makes a file longer, with a hole, or shorter.
pub(crate) fn resize(file: &File, length: u64) -> io::Result<()> {
    step("resize", || file.set_len(length))
}

/// Makes a file durable.
pub(crate) fn sync(file: &File) -> io::Result<()> {
    step("sync", || file.sync_all())
}

/// Makes a file's contents durable.
pub(crate) fn sync_data(file: &File) -> io::Result<()> {
    step("sync contents", || file.sync_data())
}

/// Gives a file or folder another name, in place of whatever file has it.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    step("rename", || fs::rename(from, to))
}

/// As [`rename`], if nothing has the name.
pub(crate) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    step("rename to a new name", || Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?))
}

/// Swaps two names.
pub(crate) fn exchange(from: &Path, to: &Path) -> io::Result<()> {
    step("exchange", || Ok(renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE)?))
}

/// Removes a file.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    step("remove", || fs::remove_file(path))
}

/// Removes a folder with everything in it.
pub(crate) fn remove_folder(path: &Path) -> io::Result<()> {
    step("remove a folder", || fs::remove_dir_all(path))
}

/// A file that is written as a stream.
#[derive(Debug)]
pub(crate) struct Output(File);

impl Output {
    /// Writes where `file` is.
    pub(crate) fn to(file: File) -> Self {
        Self(file)
    }

    /// The file, to be read.
    pub(crate) fn file(&self) -> &File {
        &self.0
    }

    /// The file itself.
    pub(crate) fn into_inner(self) -> File {
        self.0
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write_step("write", bytes, |bytes| self.0.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
