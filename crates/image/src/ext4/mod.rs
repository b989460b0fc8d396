//! Journalled ext4 file systems, written from a tree in memory and a stream of contents, without mounting anything.
//!
//! Owns: the tree ([`Tree`]), where contents wait ([`Spool`]), and the file system made of both ([`build`], [`copy`]). Must
//! not: know what an image or a layer is, or sync: who gives a file its final name does that.
//!
//! ```text
//! contents ──► Spool ──► Content ─┐
//! names, owners, modes … ────► Tree ──► build ──► the spool's file is the file system
//! ```

mod acl;
mod build;
mod declare;
mod free;
mod place;
mod sink;
mod spool;
mod tree;
mod volume;
mod writeback;

pub(crate) use sink::Sink;

pub use build::{build, copy};
pub use spool::{Incoming, Spool};
pub use tree::{Content, Inode, InodeId, Kind, Meta, Piece, Time, Tree};
pub use volume::Volume;

use crate::cancel::Cancelled;
use std::{
    io,
    path::{Path, PathBuf},
};

/// The block size in bytes.
pub(crate) const BLOCK: usize = 4096;
/// The smallest file system in bytes: the journal may take a quarter of it.
pub const MIN_SIZE: u64 = 16 << 20;

/// Why a file system could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Ext4Error {
    /// A file of the host failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Where contents came from failed.
    #[error("cannot read what goes into the file system")]
    Source(#[source] io::Error),
    /// The parts do not fit together.
    #[error("cannot lay out a file system of {size} bytes")]
    Layout {
        /// Its size.
        size: u64,
        /// What the writer said.
        source: mkext4::Error,
    },
    /// Ext4 takes any name, but its writer does not, and most programs stumble.
    #[error("the name {path} is not UTF-8")]
    NotUtf8 {
        /// The name with its folders, strange bytes escaped.
        path: String,
    },
    /// The same for where a link points.
    #[error("the symbolic link {path} points to a name that is not UTF-8")]
    NotUtf8Target {
        /// The link with its folders.
        path: String,
    },
    /// Ext4 has no room for a name, a link or its attributes.
    #[error("ext4 cannot hold {path}")]
    Refused {
        /// The name with its folders.
        path: String,
        /// What the writer said.
        source: mkext4::Error,
    },
    /// Nobody waits for it any more.
    #[error("cancelled")]
    Cancelled,
}

impl Ext4Error {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    fn layout(size: u64) -> impl FnOnce(mkext4::Error) -> Self {
        move |source| Self::Layout { size, source }
    }

    /// The writer's errors while it writes to `path`.
    fn write(size: u64, path: &Path) -> impl FnOnce(mkext4::Error) -> Self {
        move |error| match error {
            mkext4::Error::Io(source) => Self::io("write", path)(source),
            source => Self::Layout { size, source },
        }
    }
}

impl From<Cancelled> for Ext4Error {
    fn from(Cancelled: Cancelled) -> Self {
        Self::Cancelled
    }
}
