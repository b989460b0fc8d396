//! One VMM process from rendered configuration to observed exit, for each VMM; and adopting one that already runs.
//!
//! Owns: the command lines and API calls of QEMU and Firecracker, the spawning of a process that outlives its parent, its
//! identity on disk, its console, its exit, the stream to the agent in its guest, and the proof that KVM works here.
//! Must not touch: networks (it is given a socket), how disks and images are made, SQLite.
//!
//! The way through: [`binary::discover`] finds the programs, [`prove`] chooses an [`Engine`], [`launch`] turns a
//! [`VmmConfig`] into a [`Vmm`], and a later daemon gets the same [`Vmm`] back from its [`VmmRecord`] by [`Vmm::adopt`].
//! Everything that decides is a pure function ([`qemu::args`], [`firecracker::requests`], [`prove::choose`]); everything
//! that acts is dull.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod agent;
pub mod binary;
pub mod config;
pub mod console;
pub mod launch;
mod pidfd;
pub mod process;
pub mod qemu;
pub mod record;
pub mod scan;
mod spawn;
pub mod tsc;

pub use config::{ConfigError, Disk, Engine, Kernel, MacAddr, NetAttachment, VmmConfig};
pub use launch::{LaunchError, launch};
pub use process::{Exit, Vmm};
pub use record::VmmRecord;
pub use scan::{find, scan};
