//! A tar of a root file system, in a local file.
//!
//! Owns: opening it and telling how it is packed, by its first bytes. Must not: look inside.

use super::{Encoding, Layer, Origin, Resolved, SourceError};
use banger_model::api::image::ImageConfig;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The tar's file.
#[derive(Debug)]
pub(super) struct Rootfs {
    path: PathBuf,
}

/// Opens a regular file; not a pipe that never ends, nor a device.
pub(super) fn open_file(path: &Path) -> Result<(File, u64), SourceError> {
    let open = || {
        // Checked before opening too: opening a pipe would wait for its writer.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok((file, length))
    };
    open().map_err(|source| SourceError::File { path: path.to_owned(), source })
}

pub(super) fn resolve(path: &Path) -> Result<Resolved, SourceError> {
    let (file, size) = open_file(path)?;
    let mut head = Vec::new();
    file.take(6).read_to_end(&mut head).map_err(|source| SourceError::File { path: path.to_owned(), source })?;
    let layer = Layer { digest: None, diff_id: None, size: Some(size), encoding: Encoding::detect(&head) };
    Ok(Resolved {
        config: ImageConfig::default(),
        layers: vec![layer],
        identity: Arc::default(),
        origin: Origin::Rootfs(Rootfs { path: path.to_owned() }),
    })
}

impl Rootfs {
    pub(super) fn open(&self) -> Result<File, SourceError> {
        open_file(&self.path).map(|(file, _)| file)
    }

    pub(super) fn subject(&self) -> String {
        self.path.display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::Cancel;
    use crate::progress::NoProgress;
    use crate::source::{PullOptions, resolve};
    use banger_model::ImageRef;
    use sha2::{Digest as _, Sha256};

    fn reference(path: &Path) -> ImageRef {
        ImageRef::Rootfs { file: path.to_owned() }
    }

    #[test]
    fn the_packing_is_told_by_the_first_bytes_and_the_identity_by_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("root.tar.xz");
        let cancel = Cancel::new();
        for (bytes, encoding) in [
            (b"\x1f\x8b rest".as_slice(), Encoding::Gzip),
            (b"\x28\xb5\x2f\xfd", Encoding::Zstd),
            (b"\xfd7zXZ\0 rest", Encoding::Xz),
            (b"", Encoding::None),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let image = resolve(&reference(&path), &PullOptions::default(), &NoProgress, &cancel).unwrap();
            assert_eq!(image.layers()[0].encoding, encoding);
            assert_eq!(image.digest(), None);
            let mut read = Vec::new();
            image.open(0, &NoProgress, &cancel).unwrap().read_to_end(&mut read).unwrap();
            assert_eq!(read, bytes);
            assert_eq!(image.digest().unwrap().as_bytes().as_slice(), Sha256::digest(bytes).as_slice());
        }
    }

    #[test]
    fn what_is_no_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let cancel = Cancel::new();
        for path in [dir.path().to_owned(), dir.path().join("missing"), "/dev/zero".into()] {
            let error = resolve(&reference(&path), &PullOptions::default(), &NoProgress, &cancel).unwrap_err();
            assert_eq!(error.to_string(), format!("cannot read {}", path.display()));
        }
    }
}
