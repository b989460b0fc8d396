//! The daemon's own folders: made when missing, ours alone, or refused.

use rustix::process::getuid;
use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// A folder that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    #[error("cannot make the folder {}", path.display())]
    Make { path: PathBuf, source: io::Error },
    #[error("cannot examine the folder {}", path.display())]
    Examine { path: PathBuf, source: io::Error },
    #[error("{} is not a folder", path.display())]
    NotAFolder { path: PathBuf },
    #[error(
        "the folder {} belongs to user {owner} and not to user {us}: remove it, or set {variable} to a folder of your own",
        path.display()
    )]
    Owner { path: PathBuf, owner: u32, us: u32, variable: &'static str },
    #[error("cannot keep others out of the folder {}", path.display())]
    Protect { path: PathBuf, source: io::Error },
    #[error("cannot write in the folder {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// Makes sure of a folder that nobody else can enter. `variable` is the environment variable that moves it.
pub(super) fn ensure(path: &Path, variable: &'static str) -> Result<(), FolderError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => FolderError::NotAFolder { path: path.into() },
        _ => FolderError::Make { path: path.into(), source },
    })?;
    // Not through a link: in a folder like /tmp somebody else might have put it there.
    let found = fs::symlink_metadata(path).map_err(|source| FolderError::Examine { path: path.into(), source })?;
    if !found.is_dir() {
        return Err(FolderError::NotAFolder { path: path.into() });
    }
    let us = getuid().as_raw();
    if found.uid() != us {
        return Err(FolderError::Owner { path: path.into(), owner: found.uid(), us, variable });
    }
    if found.mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
            .map_err(|source| FolderError::Protect { path: path.into(), source })?;
    }
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK)
        .map_err(|errno| FolderError::Write { path: path.into(), source: errno.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_kept_out() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        ensure(&path, "X").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        ensure(&path, "X").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_file_or_a_link_in_its_place_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(ensure(&file, "X"), Err(FolderError::NotAFolder { .. })));
        let link = root.path().join("link");
        std::os::unix::fs::symlink(root.path(), &link).unwrap();
        assert!(matches!(ensure(&link, "X"), Err(FolderError::NotAFolder { .. })));
    }

    #[test]
    fn a_folder_of_somebody_else_is_refused() {
        // The root folder is root's; as root, take a folder that is not.
        let (path, _keep) = match getuid().is_root() {
            false => (PathBuf::from("/"), None),
            true => {
                let dir = tempfile::tempdir().unwrap();
                std::os::unix::fs::chown(dir.path(), Some(12345), None).unwrap();
                (dir.path().to_owned(), Some(dir))
            }
        };
        let error = ensure(&path, "XDG_RUNTIME_DIR").unwrap_err();
        assert!(matches!(error, FolderError::Owner { .. }) && error.to_string().contains("XDG_RUNTIME_DIR"), "{error}");
    }
}
