//! What VMs share: images, kernels and the initramfs, and getting them when they are missing.
//!
//! All of it is content-addressed and safe to abandon. Whoever wants the same thing at the same time shares one run; a
//! waiter whose client has gone stops waiting, and work that nobody waits for is told to end. Pull, import, delete and the
//! pull that a create needs take one lock per name. Nothing here knows of VMs, but for [`Keep`]: what a create has chosen
//! stays until it is on record.

mod images;
mod kernels;
mod seen;
pub(crate) mod shared;
mod shelf;

pub(crate) use images::ImageJob;
pub(crate) use kernels::KernelJob;
pub(crate) use shelf::Shelf;

use crate::{
    boot_files::BootFiles,
    config::{ConfigError, ConfigFile},
    db::DbError,
    op::{Cancelled, OpCx},
    task::{self, Mutex},
};
use banger_image::{
    image::{Image, ImageError},
    initramfs::InitramfsError,
    kernel::{Kernel, KernelError},
    source::SourceError,
    store::Store,
};
use banger_model::{Digest, ImageRef, KernelRef, VmName, api::image::ImageConfig};
use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
};
use tokio::sync::{OwnedRwLockReadGuard, RwLock};

/// Something shared is not to be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrepareError {
    #[error(transparent)]
    Image(Arc<ImageError>),
    #[error(transparent)]
    Kernel(Arc<KernelError>),
    #[error(transparent)]
    Initramfs(#[from] InitramfsError),
    #[error("{name} is in use by {}", list(vms))]
    InUse { name: String, vms: Vec<VmName> },
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Db(#[from] DbError),
    #[error("the work on {subject} ended without an answer")]
    Task { subject: String },
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl PrepareError {
    /// Whether a file of the user's cannot be read.
    pub(crate) fn is_of_a_file(&self) -> bool {
        match self {
            Self::Image(error) => matches!(**error, ImageError::Source(SourceError::File { .. })),
            Self::Kernel(error) => matches!(**error, KernelError::Read { .. }),
            _ => false,
        }
    }
}

impl From<ImageError> for PrepareError {
    fn from(error: ImageError) -> Self {
        Self::Image(Arc::new(error))
    }
}

impl From<KernelError> for PrepareError {
    fn from(error: KernelError) -> Self {
        Self::Kernel(Arc::new(error))
    }
}

fn list(vms: &[VmName]) -> String {
    let names: Vec<_> = vms.iter().map(VmName::as_str).collect();
    names.join(", ")
}

/// The shared things of one user.
pub(crate) struct Prepare {
    store: Store,
    boot_files: BootFiles,
    config: ConfigFile,
    images: Shelf<ImageJob, ImageRef, Image, ImageError>,
    kernels: Shelf<KernelJob, KernelRef, Kernel, KernelError>,
    /// Of images that commands were run in, at most [`images::CONFIGS`].
    configs: Mutex<HashMap<Digest, Arc<ImageConfig>>>,
    /// Held for reading from when a create has made sure of what it needs until that is on record; for writing while
    /// something is taken away.
    keep: Arc<RwLock<()>>,
}

/// Which VMs need which image or kernel.
pub(crate) type Users = BTreeMap<Digest, Vec<VmName>>;

/// While it lives, no image and no kernel is taken away.
#[derive(Debug)]
pub(crate) struct Keep {
    _held: OwnedRwLockReadGuard<()>,
}

impl Prepare {
    pub(crate) fn new(boot_files: BootFiles, config: ConfigFile) -> Self {
        Self {
            store: boot_files.store().clone(),
            boot_files,
            config,
            images: Shelf::default(),
            kernels: Shelf::default(),
            configs: Mutex::default(),
            keep: Arc::default(),
        }
    }

    /// The store itself.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Makes the initramfs of that kernel, if it is not there.
    pub(crate) async fn initramfs(&self, kernel: &Digest) -> Result<PathBuf, PrepareError> {
        let (files, kernel) = (self.boot_files.clone(), *kernel);
        Ok(blocking("the initramfs", move || files.initramfs(&kernel)).await??)
    }

    /// What a create needs, by name: pulled when missing, and kept for as long as the answer's last part lives.
    pub(crate) async fn for_create(
        &self,
        image: &ImageRef,
        kernel: &KernelRef,
        cx: &OpCx,
    ) -> Result<(Digest, Digest, Keep), PrepareError> {
        loop {
            let keep = Keep { _held: cx.abandonable(Arc::clone(&self.keep).read_owned()).await? };
            let names = (image.clone(), kernel.clone());
            let store = self.store.clone();
            let here = blocking("the store", move || {
                let image = banger_image::image::get(&store, &names.0).ok()?;
                Some((image.digest, banger_image::kernel::get(&store, &names.1).ok()?.digest))
            });
            if let Some((image, kernel)) = here.await? {
                return Ok((image, kernel, keep));
            }
            // Deletes need not wait for what may take minutes. What they take away meanwhile is got again.
            drop(keep);
            self.image(image, cx).await?;
            self.kernel(kernel, cx).await?;
        }
    }
}

/// Runs short synchronous work off the async threads.
async fn blocking<T: Send + 'static>(
    subject: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, PrepareError> {
    task::blocking(work).await.ok_or_else(|| PrepareError::Task { subject: subject.to_owned() })
}
