//! Images: from a reference to a root file system that a VM boots from, once per digest.
//!
//! Owns: fetching ([`pull`], [`import`]), and the images of the store ([`get`], [`list`], [`files`], [`delete`], [`prune`]).
//! Must not: run VMs, know which of them need an image, or need root rights.
//!
//! An image that is in the store never changes. Names can come to mean other images; VMs keep to the digest they were made
//! with.

mod error;
mod init;
mod pull;
mod seed;
mod store;

pub use crate::source::PullOptions;
pub use error::ImageError;
pub use pull::{import, is_here, pull};
pub(crate) use seed::Seed;
pub use store::{Image, ImageFiles, Manifest, delete, files, get, list, prune};
