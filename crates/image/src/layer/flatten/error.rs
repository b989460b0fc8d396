//! What can be wrong with what layers say.

/// An entry of a layer cannot be part of a file system.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path} cannot be unpacked: {fault}")]
pub struct FlattenError {
    /// The entry, strange bytes escaped.
    pub path: String,
    /// Why not.
    pub fault: FlattenFault,
}

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlattenFault {
    /// It would leave the folder it is in.
    #[error("its path has \"..\" in it")]
    DotDot,
    /// Its name is in an old encoding, as a rule.
    #[error("its name is not UTF-8")]
    NotUtf8,
    /// No file system has such names.
    #[error("a name in its path has more than 255 bytes")]
    LongName,
    /// A string in C ends there.
    #[error("its path has a zero byte in it")]
    Zero,
    /// More folders above one another than a path can have.
    #[error("its path is too deep")]
    TooDeep,
    /// Symbolic links that lead in a circle, or nearly.
    #[error("too many symbolic links on its path")]
    Loop,
    /// A whiteout of nothing.
    #[error("it removes something without a name")]
    Whiteout,
    /// A hard link to nothing.
    #[error("it is a hard link to {target}, which is not there")]
    NoTarget {
        /// Where it leads.
        target: String,
    },
    /// A hard link to a folder.
    #[error("it is a hard link to the folder {target}")]
    LinkToFolder {
        /// Where it leads.
        target: String,
    },
    /// More than can be kept in memory.
    #[error("the image has more than {limit} names")]
    TooMany {
        /// The most that is taken.
        limit: usize,
    },
}
