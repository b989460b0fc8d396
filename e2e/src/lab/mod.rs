//! The lab: a whole KVM host under emulation, in which the end-to-end cases run on real Firecracker.
//!
//! No machine that tests this project need have a KVM it can use: QEMU emulates a processor with SVM, Debian boots on it as
//! a host with `/dev/kvm`, device-mapper, systemd and cgroup v2, and the official Firecracker boots real guests there. A lab
//! boots once for many cases, each a process of its own with its own output, cgroup and deadline; cases that run at once run in
//! labs of their own.
//!
//! ```text
//! outside: host ─┐                                inside, by systemd: lab-setup, then inside::serve
//!          payload ─► machine ◄── link: a line of JSON a message ──►  │ one process a case, as an ordinary user
//!          queue, report ◄────────────────────────────────────────────┘
//! ```
//!
//! Owns: making the host's disks ([`host`], [`payload`], kept by content in a [`cache`]), the emulated machine ([`machine`]),
//! what is said between the two sides ([`link`]), which cases run there ([`table`]) and in which lab ([`queue`]), running them ([`session`],
//! [`inside`]), and telling it ([`report`]). Must not: need root, or leave a process or a file but the cache.

pub mod cache;
pub mod error;
pub mod host;
pub mod inside;
pub mod link;
pub mod machine;
pub mod payload;
pub mod queue;
pub mod report;
pub mod session;
pub mod shell;
pub mod table;

pub use error::LabError;
