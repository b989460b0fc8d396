//! The local side of a copy, found before the guest is asked for anything.

use super::CopyError;
use rustix::{
    fd::OwnedFd,
    fs::{Mode, OFlags, open},
};
use std::{
    ffi::OsString,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// What is copied into a VM.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    /// What it is called in the tar.
    pub(super) name: OsString,
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self, CopyError> {
        fs::symlink_metadata(path).map_err(CopyError::local("read", path))?;
        let name = match path.file_name() {
            Some(name) => name.to_owned(),
            // `.`, `..` and `/`.
            None => {
                let whole = fs::canonicalize(path).map_err(CopyError::local("read", path))?;
                whole.file_name().map_or_else(|| "root".into(), Into::into)
            }
        };
        Ok(Self { path: path.to_owned(), name })
    }
}

/// Where a copy from a VM goes: a folder that exists, and what the copy is called in it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) folder: OwnedFd,
    pub(super) name: OsString,
    /// For messages.
    pub(super) path: PathBuf,
}

impl Place {
    /// As `cp` does it: into `path` under `name` when that is a folder, else to `path` itself, whose folder must exist.
    pub(super) fn open(path: &Path, name: OsString) -> Result<Self, CopyError> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::PATH;
        // The user's own links are followed here, and only here.
        let folder = |path: &Path| open(path, flags, Mode::empty()).map_err(io::Error::from);
        match folder(path) {
            Ok(folder) => Ok(Self { folder, path: path.join(&name), name }),
            Err(error) => match path.file_name() {
                Some(last) if !path.as_os_str().as_bytes().ends_with(b"/") => {
                    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                    let parent = parent.unwrap_or(Path::new("."));
                    let folder = folder(parent).map_err(CopyError::local("open the folder", parent))?;
                    Ok(Self { folder, name: last.to_owned(), path: path.to_owned() })
                }
                _ => Err(CopyError::Local { what: "open the folder", path: path.to_owned(), source: error }),
            },
        }
    }
}
