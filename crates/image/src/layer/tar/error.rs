//! What can be wrong with a tar.

use std::io;

/// Why a tar cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// Its bytes are not to be had.
    #[error("cannot read on{}", after(path))]
    Read {
        /// The entry at hand.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// An entry makes no sense.
    #[error("the tar is damaged or not understood{}", after(path))]
    Entry {
        /// The entry, or the last one before.
        path: String,
        /// Why.
        #[source]
        fault: TarFault,
    },
}

fn after(path: &str) -> String {
    if path.is_empty() { " at its beginning".into() } else { format!(" at {path}") }
}

/// A path for people, strange bytes escaped.
pub(super) fn shown(path: &[u8]) -> String {
    path.escape_ascii().to_string()
}

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TarFault {
    /// The input ends in the middle.
    #[error("it breaks off")]
    Truncated,
    /// Not a header, or a damaged one.
    #[error("a header's checksum is wrong")]
    Checksum,
    /// A field that should hold a number.
    #[error("the header's {field} is no number that is allowed there")]
    Number {
        /// The field.
        field: &'static str,
    },
    /// A pax record.
    #[error("an extended header's record is malformed")]
    Record,
    /// A pax record with a known name.
    #[error("the extended header's {key} cannot be understood")]
    Value {
        /// The record's name.
        key: String,
    },
    /// More than any real one.
    #[error("an extended header has {size} bytes")]
    Extension {
        /// Its length.
        size: u64,
    },
    /// A path or target that cannot be.
    #[error("a path is empty or longer than 4096 bytes")]
    Path,
    /// A link to nothing.
    #[error("a link points to an empty name")]
    NoTarget,
    /// A kind of entry that has no place in an image.
    #[error("the type {kind:?} is not known")]
    Type {
        /// The type's byte.
        kind: String,
    },
    /// More than ext4 can hold.
    #[error("a file of {size} bytes is more than ext4 can hold")]
    TooLarge {
        /// Its length.
        size: u64,
    },
    /// A sparse file that contradicts itself.
    #[error("a sparse file's map is malformed")]
    SparseMap,
}
