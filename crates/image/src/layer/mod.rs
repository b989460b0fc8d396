//! Layers: from the compressed tars that a source hands out to one tree of names, with contents in a spool.
//!
//! Owns: unpacking ([`unpack`]), reading tars ([`tar`]), and what layers mean together ([`flatten`]). Must not: know where
//! layers come from, write a file system, or need a temporary tree or root rights.
//!
//! ```text
//! fetch and verify ──► unpack one layer after the other ──► hash, read the tar, flatten ──► spool
//!  (a thread each)        (one thread)                       (the caller's thread)
//! ```
//!
//! All three run at the same time, with a bounded number of buffers between them: memory does not grow with an image's size.

mod decode;
mod error;
pub mod flatten;
#[cfg(test)]
mod hostile;
mod pipe;
mod stages;
pub mod tar;
mod unpack;

pub use error::UnpackError;
pub use unpack::{planned_size, unpack};
