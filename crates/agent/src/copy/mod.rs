//! Files as a tar stream, both ways.
//!
//! Owns: what a copy is refused or stopped for. Runs in a forked child of its own, on its standard streams.

use banger_model::wire::guest::{CopyIn, Refusal};

/// Why a copy stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {}

/// Making a tree of a tar.
#[derive(Debug)]
pub(crate) enum In {}

/// Reading a tree into a tar.
#[derive(Debug)]
pub(crate) enum Out {}

impl In {
    /// Refuses: this agent cannot do it.
    pub(crate) fn prepare(request: &CopyIn) -> Result<Self, Refusal> {
        Err(refused(&request.path))
    }

    /// There is none.
    pub(crate) fn run(self) -> Result<(), CopyError> {
        match self {}
    }
}

impl Out {
    /// Refuses: this agent cannot do it.
    pub(crate) fn prepare(path: &str) -> Result<Self, Refusal> {
        Err(refused(path))
    }

    /// There is none.
    pub(crate) fn run(self) -> Result<(), CopyError> {
        match self {}
    }
}

fn refused(path: &str) -> Refusal {
    Refusal::Path { path: path.to_owned(), reason: "this agent does not copy files".to_owned() }
}
