//! The words every part of banger shares, as plain data.
//!
//! Owns: ids, names, references, specs, targets and their legal transitions, the names of host objects, and every
//! contract between processes ([`api`] between client and daemon, [`wire`] between daemon and guest) with a sans-IO
//! codec. Must not touch: files, sockets, clocks, randomness, async, SQL. Whatever needs entropy takes it as an argument.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod api;
pub mod digest;
#[cfg(test)]
mod fuzz;
pub mod host_name;
pub mod id;
pub mod name;
pub mod paths;
pub mod reference;
pub mod size;
pub mod spec;
pub mod vm;
pub mod wire;

pub use digest::Digest;
pub use id::{OpId, VmId};
pub use name::VmName;
pub use reference::{ImageRef, KernelRef};
pub use size::ByteSize;
