//! Where images come from: registries, archives, root tars and the catalog, all seen as a configuration and a row of layers.
//!
//! Owns: turning a reference into a [`Resolved`] image, and handing out its layers' bytes as they are stored, each checked
//! against what its descriptor announced. Must not: unpack layers, or know what becomes of them.
//!
//! ```text
//! resolve(reference) ──► Resolved ── open(0) ──► bytes of the lowest layer, still compressed
//!                                 └─ open(1) ──► …
//! ```
//!
//! A reader from [`Resolved::open`] hashes what passes through it. It answers `Ok(0)` only when length and digest were right,
//! and fails otherwise: who has seen the end of a layer without an error has a layer that is what it should be. So read to
//! the end, past what a decoder wants, and make nothing visible before. Readers are independent of each other; give each a
//! thread of its own and large buffers (256 KiB or more), so that hashing runs beside unpacking.

mod archive;
mod docker_archive;
mod error;
#[cfg(test)]
mod hostile;
mod invalid;
mod layout;
mod oci;
mod recipe;
mod registry;
mod rootfs;
mod section;
mod verify;

pub use error::{LayerError, SourceError, SourceErrorKind};
pub use invalid::InvalidImage;
pub use recipe::RecipeError;
pub use registry::RegistryError;

use crate::cancel::Cancel;
use crate::progress::Progress;
use archive::Archive;
use banger_model::api::image::ImageConfig;
use banger_model::{Digest, ImageRef};
use layout::Layout;
use oci::{Blobs, Described};
use recipe::Recipe;
use registry::Registry;
use std::io::Read;
use std::sync::{Arc, OnceLock};
use verify::{Expected, Verified};

/// What the user's configuration says about fetching.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PullOptions {
    /// Registries, as `HOST` or `HOST:PORT`, that may be spoken to without TLS. Those on this host's loopback always may.
    pub insecure: Vec<String>,
}

/// How a layer's bytes are packed around its tar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    None,
    /// RFC 1952, perhaps in several members.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// As xz(1) writes it.
    Xz,
}

impl Encoding {
    /// What the first bytes of a stream announce. Six are enough.
    fn detect(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            _ => Self::None,
        }
    }

    /// The name people know it by.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
            Self::Xz => Some("xz"),
        }
    }
}

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// What its bytes as stored hash to, where that is known before they are read.
    pub digest: Option<Digest>,
    /// What its unpacked bytes must hash to, where anybody said so and `digest` does not prove it already. This is for who
    /// unpacks it to check.
    pub diff_id: Option<Digest>,
    /// How many bytes are stored, where that is known.
    pub size: Option<u64>,
    /// How they are packed.
    pub encoding: Encoding,
}

/// An image that was found. Nothing of its layers was read yet.
#[derive(Debug)]
pub struct Resolved {
    config: ImageConfig,
    layers: Vec<Layer>,
    identity: Arc<OnceLock<Digest>>,
    origin: Origin,
}

/// Where the layers of a [`Resolved`] are.
#[derive(Debug)]
enum Origin {
    Rootfs(rootfs::Rootfs),
    Recipe(Recipe),
    Registry(Registry),
    Layout(Layout),
    DockerArchive(docker_archive::DockerArchive),
}

/// Finds the image that `reference` means now and reads its description.
///
/// # Errors
/// When it is not there, cannot be read or asked for, or is no image for this host.
pub fn resolve(
    reference: &ImageRef,
    options: &PullOptions,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Resolved, SourceError> {
    cancel.check()?;
    match reference {
        ImageRef::Catalog(name) => {
            let recipe = recipe::resolve(name, progress, cancel)?;
            let (config, layers) = (recipe::config(), vec![recipe::layer()]);
            Ok(Resolved { config, layers, identity: Arc::default(), origin: Origin::Recipe(recipe) })
        }
        ImageRef::Registry(reference) => {
            let (described, registry) = registry::resolve(reference, options, cancel)?;
            Ok(Resolved::new(described, Origin::Registry(registry)))
        }
        ImageRef::Rootfs { file } => rootfs::resolve(file),
        ImageRef::OciLayout { dir, tag } => {
            let layout = Layout::Folder(dir.clone());
            let described = layout::describe(&layout, tag.as_deref())?;
            Ok(Resolved::new(described, Origin::Layout(layout)))
        }
        ImageRef::OciArchive { file } => {
            let layout = Layout::Archive(Archive::open(file, cancel)?);
            let described = layout::describe(&layout, None)?;
            Ok(Resolved::new(described, Origin::Layout(layout)))
        }
        ImageRef::DockerArchive { file } => {
            let (described, archive) = docker_archive::describe(Archive::open(file, cancel)?)?;
            Ok(Resolved::new(described, Origin::DockerArchive(archive)))
        }
    }
}

impl Resolved {
    /// An image whose identity is known before its layers are read.
    fn new(described: Described, origin: Origin) -> Self {
        let Described { digest, config, layers } = described;
        Self { config, layers, identity: Arc::new(OnceLock::from(digest)), origin }
    }

    /// The image's identity: the same digest means the same image. It is the digest of the manifest where there is one (that
    /// of the configuration in a `docker save` archive), and known before any layer is read. A root tar is
    /// known by its bytes, a recipe's result by those and its configuration: this is `None` until their only layer has been
    /// read to its end.
    pub fn digest(&self) -> Option<Digest> {
        self.identity.get().copied()
    }

    /// What its maker wants of commands that run in it.
    pub fn config(&self) -> &ImageConfig {
        &self.config
    }

    /// Its layers, the lowest first.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The bytes of the layer at `index` of [`Self::layers`], as stored; see the module's head for the contract. What the
    /// reader has to say (retries, what a recipe's tool tells) goes to `progress` as lines; counting bytes is the caller's.
    /// Reading gives up soon after `cancel` is cancelled, also while it waits for a network or a tool.
    ///
    /// A reader's errors are [`std::io::Error`]s that carry a [`SourceError`]; [`SourceError::from_read`] takes it out again.
    ///
    /// # Errors
    /// When the layer is not to be had.
    pub fn open<'a>(
        &'a self,
        index: usize,
        progress: &'a dyn Progress,
        cancel: &Cancel,
    ) -> Result<Box<dyn Read + Send + 'a>, SourceError> {
        cancel.check()?;
        let Some(layer) = self.layers.get(index) else { return Err(SourceError::NoLayer { index }) };
        let expected = Expected { digest: layer.digest, size: layer.size };
        let layer_of = |image: &str| match layer.digest.or(layer.diff_id) {
            Some(digest) => format!("the layer {digest} of {image}"),
            None => format!("the layer {index} of {image}"),
        };
        let verified =
            |bytes: Box<dyn Read + Send + 'a>, subject| Verified::new(bytes, subject, expected, cancel.clone());
        let identity = Arc::clone(&self.identity);
        Ok(match &self.origin {
            Origin::Recipe(recipe) => {
                let (tar, subject) = (recipe.open(progress, cancel)?, recipe.subject().to_owned());
                let identify = move |tar: Digest| {
                    let _only_the_first_counts = identity.set(recipe::identity(&tar));
                };
                Box::new(verified(Box::new(tar), subject).on_end(identify))
            }
            Origin::Rootfs(rootfs) => {
                let identify = move |tar| {
                    let _only_the_first_counts = identity.set(tar);
                };
                Box::new(verified(Box::new(rootfs.open()?), rootfs.subject()).on_end(identify))
            }
            Origin::Registry(registry) => {
                let (digest, size) = layer.digest.zip(layer.size).ok_or(SourceError::NoLayer { index })?;
                let blob = registry.open(digest, size, progress, cancel);
                Box::new(verified(Box::new(blob), layer_of(&registry.subject())))
            }
            Origin::Layout(layout) => {
                let digest = layer.digest.ok_or(SourceError::NoLayer { index })?;
                Box::new(verified(Box::new(layout.open(&digest)?), layer_of(&layout.subject())))
            }
            Origin::DockerArchive(archive) => {
                Box::new(verified(Box::new(archive.open(index)?), layer_of(archive.subject())))
            }
        })
    }
}
