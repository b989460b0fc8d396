//! One VMM process from rendered configuration to observed exit, for each VMM; and adopting one that already runs.
//!
//! Owns: the command lines and API calls of QEMU and Firecracker, the spawning of a process that outlives its parent, its
//! identity on disk, its console, its exit, the stream to the agent in its guest, and the proof that KVM works here.
//! Must not touch: networks (it is given a socket), how disks and images are made, SQLite.
//!
//! The way through: [`Programs::discover`] finds the programs, [`candidates`] says which of them could use KVM, [`prove()`] tries
//! that, and [`choose()`] takes an [`Engine`] and says why; [`launch()`] turns a [`VmmConfig`] into a [`Vmm`], and a later daemon
//! gets the same [`Vmm`] back from its [`VmmRecord`] by [`Vmm::adopt`], or without a record by [`find`]. A process that serves
//! a VM beside its VMM is a [`Companion`], started and adopted alike. Everything that decides is a pure function
//! ([`choose()`], [`qemu::args`], [`firecracker::requests`]); everything that acts is dull.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod agent;
pub mod binary;
pub mod choose;
pub mod companion;
pub mod config;
pub mod confine;
pub mod console;
pub mod firecracker;
mod halt;
mod kernel_line;
pub mod launch;
mod pidfd;
pub mod process;
pub mod prove;
pub mod qemu;
pub mod record;
pub mod scan;
mod socket;
mod spawn;
pub mod stats;
#[cfg(test)]
mod torn;
pub mod trim;
pub mod tsc;

pub use agent::AgentError;
pub use binary::{Binary, BinaryError, ToolMissing, find_tool};
pub use choose::{Choice, ChooseError, Overrides, Programs, Wish, candidates, choose};
pub use companion::{CompanionConfig, CompanionError};
pub use config::{ConfigError, Disk, Engine, Kernel, MacAddr, NetAttachment, VmmConfig};
pub use firecracker::{Api, ApiError};
pub use launch::{LaunchError, launch, launch_within};
pub use process::{Companion, Exit, KillError, Vmm, WatchError};
pub use prove::{Absent, ProofSetup, Proofs, Unusable, Verdict, prove};
pub use record::{CompanionRecord, Identity, Record, RecordError, VmmRecord};
pub use scan::{companions, find, scan};
pub use spawn::SpawnError;
pub use stats::{CounterFiles, DiskUsage, GuestUsage, HostUsage, StatsError};
