//! Kernels: from a distribution's package or a user's files to what a VM boots.
//!
//! Owns: the catalog ([`pull`]), the user's own kernels ([`import`]), and the kernels of the store ([`get`], [`list`],
//! [`delete`], [`files`]). Inside: taking a kernel's ELF out of a boot image ([`bzimage`]), reading Debian packages
//! ([`deb`]), and describing modules so that `modprobe` finds them ([`modules`]). Must not: run VMs, or need root rights or
//! any tool but apt, and that only for the catalog.

mod assemble;
pub mod bzimage;
mod catalog;
pub mod deb;
mod error;
#[cfg(test)]
mod hostile;
mod lz4;
mod module_disk;
pub mod modules;
mod pull;
mod spool;
mod store;
mod unpack;
mod vmlinux;

#[cfg(test)]
pub(crate) use {catalog::Package, pull::take_in};

pub use error::{CatalogError, InvalidKernel, KernelError};
pub use pull::{import, pull};
pub(crate) use store::file;
pub use store::{Kernel, KernelFiles, Manifest, Origin, delete, files, get, list, prune};

/// The longest release, in bytes: what `uname` has room for.
const MAX_RELEASE: usize = 64;

/// `text` as a kernel's release, if it can be one. It becomes a folder's name in the guest, so it has no slash, and it begins
/// with a digit, so it is never `..`.
fn valid_release(text: &[u8]) -> Option<String> {
    let valid = text.len() <= MAX_RELEASE
        && text.first().is_some_and(u8::is_ascii_digit)
        && text.iter().all(|b| b.is_ascii_graphic() && *b != b'/');
    valid.then(|| String::from_utf8_lossy(text).into_owned())
}
