//! The documents that describe an image: index, manifest, configuration.
//!
//! Owns: reading them (OCI image specification 1.1, and Docker's image manifest version 2, schema 2) and choosing what is for
//! this kind of machine. Must not: fetch anything; [`Blobs`] does. All of it is hostile: sizes are bounded and every document
//! is checked against the digest that led to it.

use super::{Encoding, InvalidImage, Layer, SourceError};
use banger_model::Digest;
use banger_model::api::image::ImageConfig;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// The largest index or manifest that is read, in bytes: what registries accept.
pub(super) const MAX_MANIFEST: u64 = 4 << 20;
/// The largest configuration that is read, in bytes.
pub(super) const MAX_CONFIG: u64 = 8 << 20;
/// How many indexes may lie inside one another.
const MAX_DEPTH: usize = 3;

const OS: &str = "linux";
const ARCHITECTURE: &str = "amd64";

pub(super) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(super) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// A place that has an image's documents by digest.
pub(super) trait Blobs {
    /// What errors call the image.
    fn subject(&self) -> String;
    /// The bytes of a manifest or index, at most one more than `limit`.
    fn manifest(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, SourceError>;
    /// The bytes of a blob, at most one more than `limit`.
    fn blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, SourceError>;
}

/// Says of what type and content something is.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
    #[serde(default)]
    pub(super) annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Platform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    variant: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Index {
    #[serde(default)]
    pub(super) manifests: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// What the bytes say of themselves; not every manifest does.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    #[serde(default)]
    media_type: Option<String>,
}

/// An image configuration.
#[derive(Debug, Deserialize)]
pub(super) struct Config {
    #[serde(flatten)]
    platform: Platform,
    #[serde(default)]
    config: Option<Execution>,
    #[serde(default)]
    rootfs: Option<Rootfs>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Execution {
    env: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
struct Rootfs {
    #[serde(default)]
    diff_ids: Vec<Digest>,
}

/// An image as its documents describe it.
#[derive(Debug)]
pub(super) struct Described {
    /// The manifest's digest.
    pub(super) digest: Digest,
    pub(super) config: ImageConfig,
    pub(super) layers: Vec<Layer>,
}

/// The digest of `bytes`.
pub(super) fn digest(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::digest(bytes).into())
}

/// `bytes` as JSON.
pub(super) fn parse<'a, T: Deserialize<'a>>(what: &'static str, bytes: &'a [u8]) -> Result<T, InvalidImage> {
    serde_json::from_slice(bytes).map_err(|source| InvalidImage::Json { what, source })
}

/// Refuses what is longer than `limit`.
pub(super) fn bounded(what: &'static str, bytes: Vec<u8>, limit: u64) -> Result<Vec<u8>, InvalidImage> {
    if bytes.len() as u64 > limit { Err(InvalidImage::TooLarge { what, limit }) } else { Ok(bytes) }
}

/// Follows `bytes`, an index or manifest of the announced type (empty if none was), to the image in it that is for this
/// kind of machine.
pub(super) fn describe(blobs: &impl Blobs, bytes: Vec<u8>, media_type: &str) -> Result<Described, SourceError> {
    let invalid = |source| SourceError::Image { subject: blobs.subject(), source };
    let (mut bytes, mut media_type) = (bytes, media_type.to_owned());
    for _ in 0..MAX_DEPTH {
        bytes = bounded("manifest", bytes, MAX_MANIFEST).map_err(invalid)?;
        let kind: Kind = parse("manifest", &bytes).map_err(invalid)?;
        // What is inside was hashed; what was said about it was not.
        let kind = kind.media_type.unwrap_or(media_type);
        match kind.as_str() {
            OCI_MANIFEST | DOCKER_MANIFEST => return describe_manifest(blobs, &bytes),
            OCI_INDEX | DOCKER_INDEX => {
                let index: Index = parse("index", &bytes).map_err(invalid)?;
                let chosen = choose(&index.manifests).map_err(invalid)?;
                bytes = fetch(blobs, "manifest", chosen, MAX_MANIFEST)?;
                media_type = chosen.media_type.clone();
            }
            _ => return Err(invalid(InvalidImage::MediaType { what: "manifest", media_type: kind })),
        }
    }
    Err(invalid(InvalidImage::Nested))
}

/// Follows an entry of an index to the image that is for this kind of machine.
pub(super) fn follow(blobs: &impl Blobs, entry: &Descriptor) -> Result<Described, SourceError> {
    let bytes = fetch(blobs, "manifest", entry, MAX_MANIFEST)?;
    describe(blobs, bytes, &entry.media_type)
}

fn describe_manifest(blobs: &impl Blobs, bytes: &[u8]) -> Result<Described, SourceError> {
    let invalid = |source| SourceError::Image { subject: blobs.subject(), source };
    let manifest: Manifest = parse("manifest", bytes).map_err(invalid)?;
    if !matches!(manifest.config.media_type.as_str(), OCI_CONFIG | DOCKER_CONFIG) {
        let media_type = manifest.config.media_type;
        return Err(invalid(InvalidImage::MediaType { what: "configuration", media_type }));
    }
    let encodings = manifest.layers.iter().map(|layer| encoding(&layer.media_type));
    let encodings = encodings.collect::<Result<Vec<_>, _>>().map_err(invalid)?;
    let config: Config =
        parse("configuration", &fetch(blobs, "configuration", &manifest.config, MAX_CONFIG)?).map_err(invalid)?;
    config.check_platform().map_err(invalid)?;
    let diff_ids = config.diff_ids(manifest.layers.len()).map_err(invalid)?;
    let layers = manifest.layers.iter().zip(encodings).zip(diff_ids).map(|((layer, encoding), diff_id)| Layer {
        digest: Some(layer.digest),
        diff_id: diff_id.filter(|diff_id| encoding != Encoding::None || *diff_id != layer.digest),
        size: Some(layer.size),
        encoding,
    });
    Ok(Described { digest: digest(bytes), layers: layers.collect(), config: config.into_model() })
}

fn fetch(blobs: &impl Blobs, what: &'static str, wanted: &Descriptor, limit: u64) -> Result<Vec<u8>, SourceError> {
    let invalid = |source| SourceError::Image { subject: blobs.subject(), source };
    if wanted.size > limit {
        return Err(invalid(InvalidImage::TooLarge { what, limit }));
    }
    let bytes = match what {
        "configuration" => blobs.blob(&wanted.digest, limit)?,
        _ => blobs.manifest(&wanted.digest, limit)?,
    };
    let bytes = bounded(what, bytes, limit).map_err(invalid)?;
    if bytes.len() as u64 != wanted.size {
        return Err(invalid(InvalidImage::Length { what, expected: wanted.size, found: bytes.len() as u64 }));
    }
    let found = digest(&bytes);
    if found != wanted.digest {
        return Err(invalid(InvalidImage::Digest { what, expected: wanted.digest, found }));
    }
    Ok(bytes)
}

/// The entry for this kind of machine. Of several, the one that asks least of the processor; an entry that says nothing is
/// taken when no other fits, and its configuration will tell.
pub(super) fn choose(manifests: &[Descriptor]) -> Result<&Descriptor, InvalidImage> {
    let fits = |descriptor: &&Descriptor| match &descriptor.platform {
        Some(platform) => platform.os == OS && platform.architecture == ARCHITECTURE,
        None => false,
    };
    let level = |descriptor: &&Descriptor| descriptor.platform.as_ref().and_then(|platform| platform.variant.clone());
    let chosen = manifests.iter().filter(fits).min_by_key(level);
    chosen.or_else(|| manifests.iter().find(|descriptor| descriptor.platform.is_none())).ok_or_else(|| {
        let named = manifests.iter().filter_map(|descriptor| Some(descriptor.platform.as_ref()?.to_string()));
        // Attestations and the like say that they are for no machine.
        let mut has: Vec<String> = named.filter(|platform| !platform.contains("unknown")).collect();
        has.sort_unstable();
        has.dedup();
        InvalidImage::Platform { has }
    })
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

/// How a layer of that media type is packed.
fn encoding(media_type: &str) -> Result<Encoding, InvalidImage> {
    const TARS: [&str; 4] = [
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
    ];
    match TARS.iter().find_map(|tar| media_type.strip_prefix(tar)) {
        Some("") => Ok(Encoding::None),
        Some("+gzip" | ".gzip") => Ok(Encoding::Gzip),
        Some("+zstd" | ".zstd") => Ok(Encoding::Zstd),
        _ => Err(InvalidImage::MediaType { what: "layer", media_type: media_type.to_owned() }),
    }
}

impl Config {
    /// Refuses an image for other machines. One that does not say is taken at its word by whoever chose it.
    pub(super) fn check_platform(&self) -> Result<(), InvalidImage> {
        let Platform { architecture, os, .. } = &self.platform;
        let fits = (os.is_empty() || os == OS) && (architecture.is_empty() || architecture == ARCHITECTURE);
        if fits { Ok(()) } else { Err(InvalidImage::Platform { has: vec![self.platform.to_string()] }) }
    }

    /// What each of `layers` layers must unpack to, where it says so.
    pub(super) fn diff_ids(&self, layers: usize) -> Result<Vec<Option<Digest>>, InvalidImage> {
        let diff_ids = self.rootfs.as_ref().map_or(&[][..], |rootfs| &rootfs.diff_ids);
        match diff_ids.len() {
            0 => Ok(vec![None; layers]),
            count if count == layers => Ok(diff_ids.iter().copied().map(Some).collect()),
            count => Err(InvalidImage::LayerCount { layers, diff_ids: count }),
        }
    }

    /// The part that running commands depends on.
    pub(super) fn into_model(self) -> ImageConfig {
        let execution = self.config.unwrap_or_default();
        ImageConfig {
            env: execution.env.unwrap_or_default(),
            workdir: execution.working_dir.unwrap_or_default(),
            user: execution.user.unwrap_or_default(),
            entrypoint: execution.entrypoint.unwrap_or_default(),
            cmd: execution.cmd.unwrap_or_default(),
            labels: execution.labels.unwrap_or_default(),
        }
    }
}
