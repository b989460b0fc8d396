//! Why a verb did not do what it was asked.

use super::apply::LeftOver;
use crate::{
    config::ConfigError,
    db::DbError,
    host::{BootError, ChooseError, HostError, NoUserNet},
    op::Cancelled,
    prepare::PrepareError,
};
use banger_model::{
    ByteSize, VmName,
    vm::{Denied, Verb},
};

/// What of the free memory is not to be had.
struct Kept(ByteSize);

impl std::fmt::Display for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            ByteSize(0) => Ok(()),
            kept => write!(f, ", and {kept} of that are kept for VMs that run"),
        }
    }
}

/// A verb's failure. The daemon maps it once, in `api::error`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VerbError {
    #[error("there is no VM named {0}")]
    NotFound(String),
    #[error("there is already a VM named {0}")]
    NameTaken(VmName),
    #[error("no free name was found in {0} tries")]
    NoName(u32),
    #[error("cannot {verb} {name}: {denied}")]
    Denied { verb: Verb, name: VmName, denied: Denied },
    #[error("{value} is not a usable {what}: {reason}")]
    Value { what: &'static str, value: String, reason: String },
    #[error("{asked} of memory is more than this host can give: {available} of its {total} are free{}", Kept(*kept))]
    Memory { asked: ByteSize, available: ByteSize, total: ByteSize, kept: ByteSize },
    #[error(transparent)]
    NoUserNet(#[from] NoUserNet),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    #[error("cannot choose a VMM for {name}")]
    Choose { name: VmName, source: ChooseError },
    #[error("cannot {verb} {name}")]
    Host { verb: Verb, name: VmName, source: HostError },
    #[error("{name} did not boot")]
    Boot { name: VmName, source: BootError },
    #[error("{name} could not be taken down whole: {}", list(left))]
    LeftOver { name: VmName, left: Vec<LeftOver> },
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// What is left, and why each of it.
pub(super) fn list(left: &[LeftOver]) -> String {
    let items: Vec<_> = left.iter().map(|left| format!("{} ({})", left.resource, chain(&left.error))).collect();
    items.join(", ")
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}
