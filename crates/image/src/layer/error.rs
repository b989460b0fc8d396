//! What can go wrong with layers.

use super::flatten::FlattenError;
use super::tar::TarError;
use crate::cancel::Cancelled;
use crate::ext4::Ext4Error;
use crate::source::SourceError;
use banger_model::{ByteSize, Digest};
use std::io;

/// Why an image's layers could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// A layer is not to be had, or not the one that was announced.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A layer is damaged inside.
    #[error("{layer} cannot be unpacked")]
    Decode {
        /// The layer.
        layer: String,
        /// What the decoder said.
        source: io::Error,
    },
    /// A layer's tar is damaged.
    #[error("{layer} cannot be read")]
    Tar {
        /// The layer.
        layer: String,
        /// Where, and why.
        source: TarError,
    },
    /// A layer says something impossible.
    #[error("{layer} cannot be used")]
    Flatten {
        /// The layer.
        layer: String,
        /// What, and why.
        source: FlattenError,
    },
    /// The layers together say something impossible.
    #[error("the image's layers do not fit together")]
    Together(#[source] FlattenError),
    /// A layer is another one than the image's configuration says.
    #[error("{layer} unpacks to {found}, but the image's configuration says {expected}")]
    DiffId {
        /// The layer.
        layer: String,
        /// From the configuration.
        expected: Digest,
        /// Of the unpacked bytes.
        found: Digest,
    },
    /// A compression bomb, or as good as one.
    #[error("{layer} brings the image to more than {limit} unpacked, which is far too much for its size")]
    TooLarge {
        /// The layer.
        layer: String,
        /// The most that is taken from an image of that size.
        limit: ByteSize,
    },
    /// Something else than padding.
    #[error("{layer} goes on for more than {limit} behind the end of its tar")]
    Trailing {
        /// The layer.
        layer: String,
        /// The most that is taken.
        limit: ByteSize,
    },
    /// Contents could not be kept.
    #[error(transparent)]
    Ext4(#[from] Ext4Error),
    /// Nobody waits for it any more.
    #[error("cancelled")]
    Cancelled,
}

impl From<Cancelled> for UnpackError {
    fn from(Cancelled: Cancelled) -> Self {
        Self::Cancelled
    }
}
