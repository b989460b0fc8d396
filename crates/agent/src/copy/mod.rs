//! Files as a tar stream, both ways.
//!
//! Owns: reading a tree into a tar ([`Out`]) and making a tree of one ([`In`]), with modes, owners, times to the nanosecond,
//! extended attributes, links and holes. Runs in a forked child of its own, on its standard streams. The tar is taken as
//! hostile in form: nothing of it lands beside the place that was asked for.

mod inward;
mod outward;
mod pax;
mod reader;
mod sparse;
mod tree;

pub(crate) use inward::In;
pub(crate) use outward::Out;

use banger_model::wire::guest::Refusal;
use std::fmt::Display;
use std::io;
use std::path::PathBuf;

/// Why a copy stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    #[error("the tar stream: {0}")]
    Tar(#[source] io::Error),
    #[error("sending the tar stream: {0}")]
    Send(#[source] io::Error),
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("the tar stream ends in the middle of {}", path.display())]
    CutOff { path: PathBuf },
    #[error("the tar holds {:?}, which is no name below a top entry", path.display())]
    Name { path: PathBuf },
    #[error("the tar holds a second top entry, {}", path.display())]
    SecondTop { path: PathBuf },
    #[error("{}: what leads there is not all folders", path.display())]
    NotFolder { path: PathBuf },
    #[error("{}: a folder is there already", path.display())]
    IsFolder { path: PathBuf },
    #[error("{}: something else than a folder is there already", path.display())]
    IsNotFolder { path: PathBuf },
    #[error("{}: tar entries of this kind ({kind}) are unknown", path.display())]
    Kind { path: PathBuf, kind: String },
    #[error("the tar is empty")]
    Empty,
    #[error("{0} files could not be read")]
    Skipped(u64),
}

fn refused(path: &str, reason: impl Display) -> Refusal {
    Refusal::Path { path: path.to_owned(), reason: reason.to_string() }
}
