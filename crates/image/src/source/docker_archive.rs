//! What `docker save` writes: a tar with a list of images, their configurations and their layers.
//!
//! Owns: that list. The layers are plain tars as a rule, so what they must unpack to is what they must be; some tools
//! compress them, and then only who unpacks them can check. The image's identity is the digest of its configuration, which
//! Docker calls the image's id.

use super::archive::Archive;
use super::oci::{self, Config, Described, MAX_CONFIG, MAX_MANIFEST};
use super::section::Section;
use super::{Encoding, InvalidImage, Layer, SourceError};
use banger_model::Digest;
use serde::Deserialize;
use std::io::Read;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// An archive with one image, and where its layers lie.
#[derive(Debug)]
pub(super) struct DockerArchive {
    archive: Archive,
    layers: Vec<String>,
}

/// Reads the description of the one image in `archive`.
pub(super) fn describe(archive: Archive) -> Result<(Described, DockerArchive), SourceError> {
    let subject = archive.subject().to_owned();
    let invalid = |source| SourceError::Image { subject: subject.clone(), source };
    let list = oci::bounded("manifest.json", archive.read("manifest.json", MAX_MANIFEST)?, MAX_MANIFEST);
    let list: Vec<Entry> = oci::parse("manifest.json", &list.map_err(invalid)?).map_err(invalid)?;
    let [entry] = <[Entry; 1]>::try_from(list).map_err(|list| match list.len() {
        0 => invalid(InvalidImage::Missing { name: "image in its manifest.json".into() }),
        _ => invalid(InvalidImage::Several { has: list.into_iter().map(Entry::name).collect() }),
    })?;
    let bytes = oci::bounded("configuration", archive.read(&entry.config, MAX_CONFIG)?, MAX_CONFIG).map_err(invalid)?;
    let found = oci::digest(&bytes);
    if let Some(expected) = named_digest(&entry.config).filter(|digest| *digest != found) {
        return Err(invalid(InvalidImage::Digest { what: "configuration", expected, found }));
    }
    let config: Config = oci::parse("configuration", &bytes).map_err(invalid)?;
    config.check_platform().map_err(invalid)?;
    let names = entry.layers.unwrap_or_default();
    let diff_ids = config.diff_ids(names.len()).map_err(invalid)?;
    let mut layers = Vec::with_capacity(names.len());
    for (name, diff_id) in names.iter().zip(diff_ids) {
        let (section, size) = archive.file(name)?;
        let mut head = Vec::new();
        section
            .take(6)
            .read_to_end(&mut head)
            .map_err(|source| SourceError::File { path: subject.clone().into(), source })?;
        let encoding = Encoding::detect(&head);
        let (digest, diff_id) = if encoding == Encoding::None { (diff_id, None) } else { (None, diff_id) };
        layers.push(Layer { digest, diff_id, size: Some(size), encoding });
    }
    let described = Described { digest: found, config: config.into_model(), layers };
    Ok((described, DockerArchive { archive, layers: names }))
}

/// The digest that a configuration's file name announces: `HEX.json`, or `blobs/sha256/HEX`.
fn named_digest(name: &str) -> Option<Digest> {
    let hex = name.rsplit('/').next()?;
    format!("sha256:{}", hex.strip_suffix(".json").unwrap_or(hex)).parse().ok()
}

impl Entry {
    /// What people call it.
    fn name(self) -> String {
        self.repo_tags.and_then(|tags| tags.into_iter().next()).unwrap_or(self.config)
    }
}

impl DockerArchive {
    /// The bytes of the layer at `index`.
    pub(super) fn open(&self, index: usize) -> Result<Section, SourceError> {
        let name = self.layers.get(index).ok_or(SourceError::NoLayer { index })?;
        self.archive.file(name).map(|(section, _)| section)
    }

    /// What errors call it.
    pub(super) fn subject(&self) -> &str {
        self.archive.subject()
    }
}
