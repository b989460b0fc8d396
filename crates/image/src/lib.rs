//! Images and kernels: from a reference to what a VM boots from.
//!
//! Owns: the content-addressed [`store`], images ([`image`]), kernels ([`kernel`]), the initramfs ([`initramfs`]) and the VM's
//! own disks ([`disk`]). Must not: know VMs, the privileged helper or the daemon's database, or need root rights. Everything is
//! synchronous, reports to a [`progress::Progress`] and gives up when its [`cancel::Cancel`] says so.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods))]

pub mod cancel;
pub mod disk;
mod effect;
pub mod ext4;
pub mod image;
pub mod initramfs;
pub mod kernel;
pub mod layer;
#[cfg(test)]
mod matrix;
pub mod progress;
#[cfg(test)]
mod samples;
pub mod source;
pub mod store;
mod tool;
#[cfg(test)]
mod torn;

pub use disk::DiskError;
