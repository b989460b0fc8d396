//! Images in OCI image layout, in a folder or in a tar of one.
//!
//! Owns: the layout's two fixed files and its way to name blobs. Must not: judge manifests (that is [`super::oci`]).

use super::archive::Archive;
use super::oci::{self, Blobs, Described, Descriptor, Index, MAX_MANIFEST};
use super::section::Section;
use super::{InvalidImage, SourceError, rootfs::open_file};
use banger_model::Digest;
use serde::Deserialize;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

/// The annotation that gives an entry of the index its tag.
const TAG: &str = "org.opencontainers.image.ref.name";

/// A layout that has been opened.
#[derive(Debug)]
pub(super) enum Layout {
    Folder(PathBuf),
    Archive(Archive),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    image_layout_version: String,
}

/// The image called `tag`, or the only one.
pub(super) fn describe(layout: &Layout, tag: Option<&str>) -> Result<Described, SourceError> {
    let invalid = |source| SourceError::Image { subject: layout.subject(), source };
    let version: Version = oci::parse("oci-layout", &layout.read("oci-layout", MAX_MANIFEST)?).map_err(invalid)?;
    if !version.image_layout_version.starts_with("1.") {
        let media_type = version.image_layout_version;
        return Err(invalid(InvalidImage::MediaType { what: "oci-layout", media_type }));
    }
    let bytes = oci::bounded("index.json", layout.read("index.json", MAX_MANIFEST)?, MAX_MANIFEST).map_err(invalid)?;
    let index: Index = oci::parse("index.json", &bytes).map_err(invalid)?;
    let tagged = select(index.manifests, tag).map_err(invalid)?;
    let chosen = oci::choose(&tagged).map_err(invalid)?;
    oci::follow(layout, chosen)
}

/// The entries with that tag; without one, all, if they have no more than one tag between them.
fn select(manifests: Vec<Descriptor>, tag: Option<&str>) -> Result<Vec<Descriptor>, InvalidImage> {
    let name = |descriptor: &Descriptor| descriptor.annotations.as_ref()?.get(TAG).cloned();
    let mut tags: Vec<String> = manifests.iter().filter_map(name).collect();
    tags.sort_unstable();
    tags.dedup();
    match tag {
        Some(tag) => {
            let of_tag: Vec<_> = manifests.into_iter().filter(|one| name(one).as_deref() == Some(tag)).collect();
            if of_tag.is_empty() { Err(InvalidImage::NoTag { tag: tag.to_owned(), has: tags }) } else { Ok(of_tag) }
        }
        None if tags.len() > 1 => Err(InvalidImage::Several { has: tags }),
        None => Ok(manifests),
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

impl Layout {
    fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, SourceError> {
        match self {
            Self::Archive(archive) => archive.read(name, limit),
            Self::Folder(folder) => {
                let path = folder.join(name);
                let (file, _) = open_file(&path).map_err(|error| self.missing(name, error))?;
                let mut bytes = Vec::new();
                match file.take(limit + 1).read_to_end(&mut bytes) {
                    Ok(_) => Ok(bytes),
                    Err(source) => Err(SourceError::File { path, source }),
                }
            }
        }
    }

    /// The bytes of a layer.
    pub(super) fn open(&self, digest: &Digest) -> Result<Section, SourceError> {
        let name = blob_name(digest);
        match self {
            Self::Archive(archive) => archive.file(&name).map(|(section, _)| section),
            Self::Folder(folder) => {
                let opened = open_file(&folder.join(&name)).map_err(|error| self.missing(&name, error));
                opened.map(|(file, length)| Section::new(Arc::new(file), 0, length))
            }
        }
    }

    /// A file that is missing from a folder that is there is the image's fault, not the path's.
    fn missing(&self, name: &str, error: SourceError) -> SourceError {
        match (&error, self) {
            (SourceError::File { source, .. }, Self::Folder(folder))
                if source.kind() == io::ErrorKind::NotFound && folder.is_dir() =>
            {
                SourceError::Image { subject: self.subject(), source: InvalidImage::Missing { name: name.to_owned() } }
            }
            (SourceError::File { source, .. }, Self::Folder(folder)) if source.kind() == io::ErrorKind::NotFound => {
                let source = io::ErrorKind::NotFound.into();
                SourceError::File { path: folder.clone(), source }
            }
            _ => error,
        }
    }
}

impl Blobs for Layout {
    fn subject(&self) -> String {
        match self {
            Self::Folder(folder) => folder.display().to_string(),
            Self::Archive(archive) => archive.subject().to_owned(),
        }
    }

    fn manifest(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, SourceError> {
        self.read(&blob_name(digest), limit)
    }

    fn blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, SourceError> {
        self.read(&blob_name(digest), limit)
    }
}
