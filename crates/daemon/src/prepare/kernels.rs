//! Kernels: get, pull, import, list, delete.

use super::{Prepare, PrepareError, Users, blocking};
use crate::{db::DbError, op::OpCx};
use banger_image::{
    cancel::Cancel,
    kernel::{self, Kernel, KernelError},
    progress::Progress,
};
use banger_model::{Digest, KernelRef, api::op::Stage};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// A job on one kernel name; equal ones are one run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum KernelJob {
    Pull { kernel: KernelRef, newest: bool },
    Import { name: KernelRef, kernel: PathBuf, modules: Option<PathBuf> },
}

impl From<Arc<KernelError>> for PrepareError {
    fn from(error: Arc<KernelError>) -> Self {
        Self::Kernel(error)
    }
}

impl Prepare {
    /// The kernel of that name; pulled when it is in the catalog and not here.
    pub(crate) async fn kernel(&self, name: &KernelRef, cx: &OpCx) -> Result<Kernel, PrepareError> {
        match self.find_kernel(name).await {
            Ok(kernel) => Ok(kernel),
            Err(_) if name.is_catalog() => self.pull_kernel(name, false, cx).await,
            Err(error) => Err(error),
        }
    }

    /// The kernel of that name, if it is here.
    pub(crate) async fn find_kernel(&self, name: &KernelRef) -> Result<Kernel, PrepareError> {
        let (store, name) = (self.store.clone(), name.clone());
        Ok(blocking("the store", move || kernel::get(&store, &name)).await??)
    }

    /// The kernel of that name, if it is here and a pull would leave it as it is.
    pub(crate) async fn kernel_that_is_here(&self, name: &KernelRef) -> Result<Option<Kernel>, PrepareError> {
        let (store, name) = (self.store.clone(), name.clone());
        let find = move || kernel::get(&store, &name).ok().filter(|kernel| kernel.manifest.is_current());
        // One of the user's is not to be had from anywhere.
        Ok(blocking("the store", find).await?.filter(|kernel| kernel.name.is_catalog()))
    }

    /// All kernels that are here, sorted by name.
    pub(crate) async fn list_kernels(&self) -> Result<Vec<Kernel>, PrepareError> {
        let store = self.store.clone();
        Ok(blocking("the store", move || kernel::list(&store)).await??)
    }

    /// Fetches a kernel of the catalog; with `newest`, also when an older one is here.
    pub(crate) async fn pull_kernel(&self, name: &KernelRef, newest: bool, cx: &OpCx) -> Result<Kernel, PrepareError> {
        let (store, name) = (self.store.clone(), name.clone());
        let job = KernelJob::Pull { kernel: name.clone(), newest };
        let work = {
            let name = name.clone();
            move |progress: &dyn Progress, cancel: &Cancel| kernel::pull(&store, &name, newest, progress, cancel)
        };
        self.kernels.share(job, name, stage_of, cx, work).await
    }

    /// Puts a kernel of the user's into the store.
    pub(crate) async fn import_kernel(
        &self,
        name: &KernelRef,
        file: &Path,
        modules: Option<&Path>,
        cx: &OpCx,
    ) -> Result<Kernel, PrepareError> {
        let (store, name) = (self.store.clone(), name.clone());
        let (file, modules) = (file.to_owned(), modules.map(Path::to_owned));
        let job = KernelJob::Import { name: name.clone(), kernel: file.clone(), modules: modules.clone() };
        let work = {
            let name = name.clone();
            move |progress: &dyn Progress, cancel: &Cancel| {
                kernel::import(&store, &name, &file, modules.as_deref(), progress, cancel)
            }
        };
        self.kernels.share(job, name, stage_of, cx, work).await
    }

    /// As [`Prepare::prune_images`], for kernels.
    pub(crate) async fn prune_kernels(
        &self,
        users: impl Future<Output = Result<Users, DbError>>,
    ) -> Result<Vec<Digest>, PrepareError> {
        let (Some(rest), Ok(keep)) = (self.kernels.try_rest(), self.keep.try_write()) else { return Ok(Vec::new()) };
        let (store, users) = (self.store.clone(), users.await?);
        let gone = blocking("the store", move || kernel::prune(&store, |digest| users.contains_key(digest))).await?;
        drop((rest, keep));
        Ok(gone?)
    }

    /// Removes every initramfs whose kernel has gone, and those of agents before this one. Says how many.
    pub(crate) async fn prune_initramfs(&self) -> Result<usize, PrepareError> {
        let files = self.boot_files.clone();
        Ok(blocking("the initramfs", move || files.prune()).await??)
    }

    /// As [`Prepare::delete_image`], for kernels. What was made of it goes at the next look.
    pub(crate) async fn delete_kernel(
        &self,
        name: &KernelRef,
        users: impl Future<Output = Result<Users, DbError>>,
        cx: &OpCx,
    ) -> Result<bool, PrepareError> {
        let _name = self.kernels.lock(name, cx).await?;
        let _all = cx.abandonable(self.keep.write()).await?;
        let users = users.await?;
        if let Ok(kernel) = self.find_kernel(name).await
            && let Some(vms) = users.get(&kernel.digest)
        {
            return Err(PrepareError::InUse { name: name.to_string(), vms: vms.clone() });
        }
        let (store, name) = (self.store.clone(), name.clone());
        let needed = move |digest: &Digest| users.contains_key(digest);
        Ok(blocking("the store", move || kernel::delete(&store, &name, needed)).await??)
    }
}

/// All work on a kernel is one stage; its parts are named in the detail.
fn stage_of(_: &str) -> Stage {
    Stage::Kernel
}
