//! Kernels: from a distribution's package or a user's files to what a VM boots.
//!
//! Owns: taking a kernel's ELF and release out of a boot image ([`bzimage`]), reading Debian packages ([`deb`]), describing
//! modules so that `modprobe` finds them ([`modules`]). Must not: run VMs or need root rights.

pub mod bzimage;
pub mod deb;
mod lz4;
mod module_disk;
pub mod modules;
mod spool;
mod unpack;

/// The longest release, in bytes: what `uname` has room for.
pub(crate) const MAX_RELEASE: usize = 64;

/// `text` as a kernel's release, if it can be one. It becomes a folder's name in the guest, so it has no slash, and it begins
/// with a digit, so it is never `..`.
pub(crate) fn valid_release(text: &[u8]) -> Option<String> {
    let valid = text.len() <= MAX_RELEASE
        && text.first().is_some_and(u8::is_ascii_digit)
        && text.iter().all(|b| b.is_ascii_graphic() && *b != b'/');
    valid.then(|| String::from_utf8_lossy(text).into_owned())
}
