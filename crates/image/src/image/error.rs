//! What can go wrong with images.

use crate::cancel::Cancelled;
use crate::ext4::Ext4Error;
use crate::layer::UnpackError;
use crate::source::SourceError;
use crate::store::StoreError;
use banger_model::{Digest, ImageRef};
use std::path::PathBuf;

/// Why an operation on images failed.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// No image has that name.
    #[error("there is no image {name}")]
    NotFound {
        /// The name.
        name: ImageRef,
    },
    /// No image has that digest.
    #[error("the image {digest} is no longer in the store")]
    Gone {
        /// The digest.
        digest: Digest,
    },
    /// A catalog name cannot be given to something else.
    #[error("{name} names an image of the catalog: choose another name")]
    Reserved {
        /// The name.
        name: ImageRef,
    },
    /// The name means another image already.
    #[error("{name} names another image already: delete that one first, or choose another name")]
    NameTaken {
        /// The name.
        name: ImageRef,
    },
    /// Only files and folders of this host can be imported.
    #[error("{name} is no file or folder of this host: use `image pull`")]
    NotLocal {
        /// What was to be imported.
        name: ImageRef,
    },
    /// The source did not say what it was, although everything was read. A fault of this program.
    #[error("the image {name} was read to its end, but has no digest")]
    NoDigest {
        /// The image.
        name: ImageRef,
    },
    /// The source has no such image, or cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A layer cannot be used.
    #[error("cannot unpack the image {name}")]
    Unpack {
        /// The image.
        name: ImageRef,
        /// Why.
        source: UnpackError,
    },
    /// The file system could not be made.
    #[error("cannot make a file system of the image {name}")]
    Ext4 {
        /// The image.
        name: ImageRef,
        /// Why.
        source: Ext4Error,
    },
    /// The store's own record of an image is damaged.
    #[error("the record {} is damaged: pull or import its image again, or remove that file", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nobody waits for it any more.
    #[error("cancelled")]
    Cancelled,
}

impl ImageError {
    /// A failure while the image `name` is unpacked.
    pub(super) fn unpack(name: &ImageRef) -> impl FnOnce(UnpackError) -> Self {
        move |error| match error {
            UnpackError::Source(SourceError::Cancelled) | UnpackError::Cancelled => Self::Cancelled,
            UnpackError::Source(error) => Self::Source(error),
            UnpackError::Ext4(error) => Self::ext4(name)(error),
            source => Self::Unpack { name: name.clone(), source },
        }
    }

    /// A failure while the file system of the image `name` is written.
    pub(super) fn ext4(name: &ImageRef) -> impl FnOnce(Ext4Error) -> Self {
        move |error| match error {
            Ext4Error::Cancelled => Self::Cancelled,
            Ext4Error::Io { action, path, source } => StoreError::io(action, path)(source).into(),
            source => Self::Ext4 { name: name.clone(), source },
        }
    }
}

impl From<Cancelled> for ImageError {
    fn from(Cancelled: Cancelled) -> Self {
        Self::Cancelled
    }
}
