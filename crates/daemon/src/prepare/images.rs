//! Images: get, pull, import, list, delete.

use super::{Prepare, PrepareError, Users, blocking};
use crate::{db::DbError, op::OpCx};
use banger_image::{
    cancel::Cancel,
    image::{self, Image, ImageError, PullOptions},
    progress::Progress,
};
use banger_model::{
    Digest, ImageRef,
    api::{image::ImageConfig, op::Stage},
};
use std::sync::Arc;

/// Of so many images the configuration is remembered.
pub(super) const CONFIGS: usize = 64;

/// A job on one image name; equal ones are one run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum ImageJob {
    Pull { image: ImageRef, force: bool },
    Import { source: ImageRef, name: ImageRef },
}

impl From<Arc<ImageError>> for PrepareError {
    fn from(error: Arc<ImageError>) -> Self {
        Self::Image(error)
    }
}

impl Prepare {
    /// The image of that name; pulled when it is not here.
    pub(crate) async fn image(&self, name: &ImageRef, cx: &OpCx) -> Result<Image, PrepareError> {
        match self.find_image(name).await {
            Ok(image) => Ok(image),
            // Not here, or not usable as it is: pulling says what is wrong, if it cannot mend it.
            Err(_) => self.pull_image(name, false, cx).await,
        }
    }

    /// The image of that name, if it is here.
    pub(crate) async fn find_image(&self, name: &ImageRef) -> Result<Image, PrepareError> {
        let (store, name) = (self.store.clone(), name.clone());
        Ok(blocking("the store", move || image::get(&store, &name)).await??)
    }

    /// The image of that name, if it is here and a pull would leave it as it is.
    pub(crate) async fn image_that_is_here(&self, name: &ImageRef) -> Result<Option<Image>, PrepareError> {
        let (store, name) = (self.store.clone(), name.clone());
        let find = move || image::get(&store, &name).ok().filter(|image| image::is_here(&store, &image.digest));
        blocking("the store", find).await
    }

    /// All images that are here, sorted by name.
    pub(crate) async fn list_images(&self) -> Result<Vec<Image>, PrepareError> {
        let store = self.store.clone();
        Ok(blocking("the store", move || image::list(&store)).await??)
    }

    /// The configuration of the image that a VM was made from, whatever its name now. Every command in a guest asks for it, and
    /// what a digest names never changes: so it is read once.
    pub(crate) async fn image_config(&self, digest: &Digest) -> Result<Arc<ImageConfig>, PrepareError> {
        if let Some(config) = self.configs.lock().get(digest) {
            return Ok(Arc::clone(config));
        }
        let (store, digest) = (self.store.clone(), *digest);
        let (manifest, _) = blocking("the store", move || image::files(&store, &digest)).await??;
        let config = Arc::new(manifest.config);
        let mut configs = self.configs.lock();
        if configs.len() == CONFIGS {
            configs.clear();
        }
        configs.insert(digest, Arc::clone(&config));
        Ok(config)
    }

    /// Fetches or builds an image; with `force`, also when the name is here already.
    pub(crate) async fn pull_image(&self, name: &ImageRef, force: bool, cx: &OpCx) -> Result<Image, PrepareError> {
        let (store, options, name) = (self.store.clone(), self.pull_options()?, name.clone());
        let job = ImageJob::Pull { image: name.clone(), force };
        let work = {
            let name = name.clone();
            move |progress: &dyn Progress, cancel: &Cancel| {
                image::pull(&store, &name, force, &options, progress, cancel)
            }
        };
        self.images.share(job, name, stage_of, cx, work).await
    }

    /// Makes an image of a local file or folder, under a name of the user's.
    pub(crate) async fn import_image(
        &self,
        source: &ImageRef,
        name: &ImageRef,
        cx: &OpCx,
    ) -> Result<Image, PrepareError> {
        let (store, options) = (self.store.clone(), self.pull_options()?);
        let (source, name) = (source.clone(), name.clone());
        let job = ImageJob::Import { source: source.clone(), name: name.clone() };
        let work = {
            let name = name.clone();
            move |progress: &dyn Progress, cancel: &Cancel| {
                image::import(&store, &source, &name, &options, progress, cancel)
            }
        };
        self.images.share(job, name, stage_of, cx, work).await
    }

    /// Takes the name away, and with it the image, unless another name keeps it. `users` is waited
    /// for while no create can begin to use an image; a needed one is refused. Says whether the image is gone.
    pub(crate) async fn delete_image(
        &self,
        name: &ImageRef,
        users: impl Future<Output = Result<Users, DbError>>,
        cx: &OpCx,
    ) -> Result<bool, PrepareError> {
        let _name = self.images.lock(name, cx).await?;
        let _all = cx.abandonable(self.keep.write()).await?;
        let users = users.await?;
        if let Ok(image) = self.find_image(name).await
            && let Some(vms) = users.get(&image.digest)
        {
            return Err(PrepareError::InUse { name: name.to_string(), vms: vms.clone() });
        }
        let (store, name) = (self.store.clone(), name.clone());
        let needed = move |digest: &Digest| users.contains_key(digest);
        Ok(blocking("the store", move || image::delete(&store, &name, needed)).await??)
    }

    /// Removes the images that have lost their names and that no VM needs. Does nothing while others are at work.
    pub(crate) async fn prune_images(
        &self,
        users: impl Future<Output = Result<Users, DbError>>,
    ) -> Result<Vec<Digest>, PrepareError> {
        let (Some(rest), Ok(keep)) = (self.images.try_rest(), self.keep.try_write()) else { return Ok(Vec::new()) };
        let (store, users) = (self.store.clone(), users.await?);
        let gone = blocking("the store", move || image::prune(&store, |digest| users.contains_key(digest))).await?;
        drop((rest, keep));
        Ok(gone?)
    }

    fn pull_options(&self) -> Result<PullOptions, PrepareError> {
        Ok(PullOptions { insecure: self.config.load()?.registries.insecure })
    }
}

/// Which stage a part of the work on an image belongs to, by the first word of its name.
fn stage_of(part: &str) -> Stage {
    match part.split(' ').next().unwrap_or_default() {
        "find" | "look" => Stage::Resolve,
        "fetch" | "download" => Stage::Fetch,
        "build" => Stage::Build,
        _ => Stage::Convert,
    }
}
