//! The agreed shape of `banger_image::image` and `banger_image::disk`, until they are there.

use banger_image::{cancel::Cancel, progress::Progress, store::Store};
use banger_model::{ByteSize, Digest, ImageRef, api::image::ImageConfig};
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
#[error("images are not there yet")]
pub(crate) struct ImageError;
#[derive(Debug, thiserror::Error)]
#[error("disks are not there yet")]
pub(crate) struct DiskError;
#[derive(Debug, Clone)]
pub(crate) struct Manifest {
    pub(crate) size: ByteSize,
    pub(crate) created_ms: u64,
    pub(crate) init: Option<String>,
    pub(crate) config: ImageConfig,
    pub(crate) warnings: Vec<String>,
}
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) name: ImageRef,
    pub(crate) digest: Digest,
    pub(crate) manifest: Manifest,
}
#[derive(Debug, Clone)]
pub(crate) struct ImageFiles {
    pub(crate) root: PathBuf,
    pub(crate) seed: PathBuf,
}
#[derive(Debug, Clone)]
pub(crate) struct PullOptions {
    pub(crate) insecure: Vec<String>,
}
pub(crate) fn pull(
    _: &Store,
    _: &ImageRef,
    _: bool,
    _: &PullOptions,
    _: &dyn Progress,
    _: &Cancel,
) -> Result<Image, ImageError> {
    Err(ImageError)
}
pub(crate) fn import(
    _: &Store,
    _: &ImageRef,
    _: &ImageRef,
    _: &PullOptions,
    _: &dyn Progress,
    _: &Cancel,
) -> Result<Image, ImageError> {
    Err(ImageError)
}
pub(crate) fn get(_: &Store, _: &ImageRef) -> Result<Image, ImageError> {
    Err(ImageError)
}
pub(crate) fn list(_: &Store) -> Result<Vec<Image>, ImageError> {
    Err(ImageError)
}
pub(crate) fn files(_: &Store, _: &Digest) -> Result<(Manifest, ImageFiles), ImageError> {
    Err(ImageError)
}
pub(crate) fn delete(_: &Store, _: &ImageRef, _: impl Fn(&Digest) -> bool) -> Result<bool, ImageError> {
    Err(ImageError)
}
