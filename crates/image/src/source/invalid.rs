//! Why something that was found is no image that can be used here.

use banger_model::Digest;
use std::io;

/// What is wrong with an image's description, or with the archive it lies in.
#[derive(Debug, thiserror::Error)]
pub enum InvalidImage {
    /// Not the JSON it should be.
    #[error("its {what} is not valid")]
    Json {
        /// Which part.
        what: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// More than any real one.
    #[error("its {what} is larger than {limit} bytes")]
    TooLarge {
        /// Which part.
        what: &'static str,
        /// The most that is taken, in bytes.
        limit: u64,
    },
    /// Bytes that are not those announced.
    #[error("its {what} hashes to {found} instead of {expected}")]
    Digest {
        /// Which part.
        what: &'static str,
        /// As announced.
        expected: Digest,
        /// As found.
        found: Digest,
    },
    /// Bytes that are more or fewer than announced.
    #[error("its {what} was announced with {expected} bytes, but has {found}")]
    Length {
        /// Which part.
        what: &'static str,
        /// As announced.
        expected: u64,
        /// As found.
        found: u64,
    },
    /// A type that this program does not know.
    #[error("its {what} has the unknown media type {media_type:?}")]
    MediaType {
        /// Which part.
        what: &'static str,
        /// As announced.
        media_type: String,
    },
    /// It was made for other machines.
    #[error("it is not for linux/amd64: it has {}", if has.is_empty() { "nothing".to_owned() } else { has.join(", ") })]
    Platform {
        /// What it was made for.
        has: Vec<String>,
    },
    /// Lists inside lists inside lists.
    #[error("its indexes are nested too deep")]
    Nested,
    /// Its configuration describes other layers than its manifest lists.
    #[error("its manifest lists {layers} layers, but its configuration {diff_ids}")]
    LayerCount {
        /// In the manifest.
        layers: usize,
        /// In the configuration.
        diff_ids: usize,
    },
    /// The layout has no image of that name.
    #[error("it has no image with the tag {tag:?}{}", tags(has))]
    NoTag {
        /// What was asked for.
        tag: String,
        /// What there is.
        has: Vec<String>,
    },
    /// Which one is meant?
    #[error("it has several images: {}; say which", has.join(", "))]
    Several {
        /// What there is.
        has: Vec<String>,
    },
    /// A file that must be in it.
    #[error("it has no {name}")]
    Missing {
        /// Its path inside.
        name: String,
    },
    /// An archive whose parts cannot be read in place.
    #[error("the archive is compressed with {compression}: unpack that first")]
    Compressed {
        /// How.
        compression: &'static str,
    },
    /// The archive cannot be read to its end.
    #[error("it is no usable tar archive")]
    Tar(#[source] io::Error),
    /// The archive ends inside one of its files.
    #[error("the archive is cut off in {name}")]
    Truncated {
        /// The file inside.
        name: String,
    },
    /// More files than any real one has.
    #[error("the archive has more than {limit} files")]
    TooMany {
        /// The most that is taken.
        limit: usize,
    },
}

fn tags(has: &[String]) -> String {
    if has.is_empty() { String::new() } else { format!(": it has {}", has.join(", ")) }
}
