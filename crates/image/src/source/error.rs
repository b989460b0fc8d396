//! What can go wrong with an image's source.

use super::{InvalidImage, RecipeError, RegistryError};
use crate::cancel::Cancelled;
use banger_model::Digest;
use std::io;
use std::path::PathBuf;

/// Why an image, or a part of it, is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// An image of the catalog.
    #[error("cannot build {name}")]
    Recipe {
        /// The image's name.
        name: String,
        /// Why.
        source: RecipeError,
    },
    /// A local file or folder.
    #[error("cannot read {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A registry.
    #[error("cannot get {image}")]
    Registry {
        /// The image.
        image: String,
        /// Why.
        source: RegistryError,
    },
    /// It was found, but cannot be used.
    #[error("{subject} is not a usable image")]
    Image {
        /// The image, as a file, folder or reference.
        subject: String,
        /// Why.
        source: InvalidImage,
    },
    /// A layer is not what it should be, or broke off.
    #[error("{subject} is not usable")]
    Layer {
        /// The layer, and whose.
        subject: String,
        /// Why.
        source: LayerError,
    },
    /// A caller asked for a layer past the last one.
    #[error("the image has no layer with the index {index}")]
    NoLayer {
        /// What was asked for.
        index: usize,
    },
    /// Nobody waits for it any more.
    #[error("cancelled")]
    Cancelled,
}

/// Why the bytes of a layer cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// It is shorter or longer than announced.
    #[error("it was announced with {expected} bytes, but has {}{found}", if found > expected { "at least " } else { "only " })]
    Length {
        /// As announced.
        expected: u64,
        /// As found; reading stops soon after the announced end.
        found: u64,
    },
    /// It is something else than announced.
    #[error("its bytes hash to {found} instead of {expected}")]
    Digest {
        /// As announced.
        expected: Digest,
        /// As found.
        found: Digest,
    },
    /// It could not be read.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
}

/// What kind of failure it is, for who must choose a code or an advice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceErrorKind {
    /// There is no such image.
    NotFound,
    /// It is there, but no image that can be used here.
    Invalid,
    /// The source did not answer as it should; it may later.
    Unavailable,
    /// This host lacks a tool or a permission.
    HostUnfit,
    /// The work was given up.
    Cancelled,
}

impl SourceError {
    /// Its kind.
    pub fn kind(&self) -> SourceErrorKind {
        match self {
            Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound => SourceErrorKind::NotFound,
            Self::Registry { source: RegistryError::NotFound { .. }, .. }
            | Self::Image { source: InvalidImage::NoTag { .. }, .. } => SourceErrorKind::NotFound,
            Self::Recipe { source, .. } if source.is_of_host() => SourceErrorKind::HostUnfit,
            Self::File { .. } | Self::Registry { .. } | Self::Recipe { .. } => SourceErrorKind::Unavailable,
            Self::Image { .. } | Self::Layer { .. } | Self::NoLayer { .. } => SourceErrorKind::Invalid,
            Self::Cancelled => SourceErrorKind::Cancelled,
        }
    }

    /// Takes the error of a layer's reader out again. Decoders for gzip, xz and zstd hand it on as it was.
    ///
    /// # Errors
    /// `error` itself, when it did not begin here.
    pub fn from_read(error: io::Error) -> Result<Self, io::Error> {
        error.downcast()
    }
}

impl From<Cancelled> for SourceError {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

impl From<SourceError> for io::Error {
    fn from(error: SourceError) -> Self {
        Self::other(error)
    }
}
