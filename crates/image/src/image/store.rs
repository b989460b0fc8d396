//! Images in the store.
//!
//! Owns: the records of names and images, and what can be asked of them. Must not: make images, or know which VMs need one.
//! Layout below the store's root:
//!
//! | path | what |
//! |---|---|
//! | `image-names/HEX.json` | which image a name means; HEX is the SHA-256 of the name, which may be any text |
//! | `images/HEX/image.ext4` | the root file system, read-only |
//! | `images/HEX/seed.json` | what a work disk begins with; see [`super::seed`] |
//! | `images/HEX/manifest.json` | facts |

use super::ImageError;
use crate::store::{Lengths, Staging, Store, StoreError, atomic};
use banger_model::api::image::ImageConfig;
use banger_model::{ByteSize, Digest, ImageRef};
use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// The version of the layout. An image of another one is made anew when it is pulled.
pub(super) const FORMAT: u32 = 1;

/// Files in an image's folder.
pub(super) mod file {
    pub(in crate::image) const ROOT: &str = "image.ext4";
    pub(in crate::image) const SEED: &str = "seed.json";
    pub(in crate::image) const MANIFEST: &str = "manifest.json";
}

/// What is known of an image's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the layout; see [`FORMAT`].
    pub format: u32,
    /// What it takes on the disk.
    pub size: ByteSize,
    /// When it was made, in milliseconds since the epoch.
    pub created_ms: u64,
    /// The program in it that wants to be process 1, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
    /// Its configuration.
    pub config: ImageConfig,
    /// What did not go well but left it usable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// How long its files are.
    #[serde(default, skip_serializing_if = "Lengths::is_empty")]
    pub lengths: Lengths,
}

/// An image of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its name.
    pub name: ImageRef,
    /// What it was made of.
    pub digest: Digest,
    /// Facts of its content.
    pub manifest: Manifest,
}

/// An image's files. They never change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFiles {
    /// The root file system: ext4.
    pub root: PathBuf,
    /// What [`crate::disk::make_work`] wants.
    pub seed: PathBuf,
}

/// What a name means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Name {
    name: ImageRef,
    digest: Digest,
}

/// The image that `name` means.
///
/// # Errors
/// [`ImageError::NotFound`] if there is none; when its records cannot be read.
pub fn get(store: &Store, name: &ImageRef) -> Result<Image, ImageError> {
    let record = read_name(store, name)?.ok_or_else(|| ImageError::NotFound { name: name.clone() })?;
    describe(store, record)
}

/// All images that have a name, sorted by it. Those whose records are damaged are left out.
///
/// # Errors
/// When the folder of names cannot be read.
pub fn list(store: &Store) -> Result<Vec<Image>, ImageError> {
    let names = name_files(store)?.into_iter().filter_map(|path| read_json(&path).ok());
    let mut images: Vec<Image> = names.filter_map(|record| describe(store, record).ok()).collect();
    images.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(images)
}

/// The files of the image with that digest, whatever its names: how a VM finds the image it was made with.
///
/// # Errors
/// When there is no such image, its manifest cannot be read, or a file of it was cut off.
pub fn files(store: &Store, digest: &Digest) -> Result<(Manifest, ImageFiles), ImageError> {
    let folder = store.image(digest);
    let manifest: Manifest = match read_json(&folder.join(file::MANIFEST)) {
        Err(ImageError::Store(StoreError::Io { source, .. })) if source.kind() == io::ErrorKind::NotFound => {
            return Err(ImageError::Gone { digest: *digest });
        }
        read => read?,
    };
    manifest.lengths.check(&folder)?;
    Ok((manifest, ImageFiles { root: folder.join(file::ROOT), seed: folder.join(file::SEED) }))
}

/// Takes `name` away, and with it the image, unless another name or `needed` keeps it. Says whether the image is gone.
///
/// # Errors
/// [`ImageError::NotFound`] if there is no such name; when something cannot be removed.
pub fn delete(store: &Store, name: &ImageRef, needed: impl Fn(&Digest) -> bool) -> Result<bool, ImageError> {
    let path = name_path(store, name);
    let naming = store.naming(&store.image_names())?;
    let digest = match read_name(store, name) {
        Ok(None) => return Err(ImageError::NotFound { name: name.clone() }),
        Ok(Some(record)) => Some(record.digest),
        // A damaged record is no reason to keep it.
        Err(ImageError::Record { .. }) => None,
        Err(error) => return Err(error),
    };
    atomic::remove(&path).map_err(StoreError::io("remove", &path))?;
    let Some(digest) = digest else { return Ok(false) };
    // A name that cannot be read may be this image's.
    if needed(&digest) || names(store).map_or(true, |names| names.iter().any(|other| other.digest == digest)) {
        return Ok(false);
    }
    let gone = take_away(store, &digest)?;
    drop(naming);
    Ok(gone.is_some())
}

/// Removes the images that have no name any more and that `needed` does not keep: a name that came to mean another image
/// leaves the old one behind. Says which are gone. An image is there before its name is: a pull whose image goes in between
/// makes it again, so better nobody is pulling meanwhile.
///
/// # Errors
/// When something cannot be removed, or a name cannot be read: it may be that of any image, so none is removed then.
pub fn prune(store: &Store, needed: impl Fn(&Digest) -> bool) -> Result<Vec<Digest>, ImageError> {
    let naming = store.naming(&store.image_names())?;
    let named: BTreeSet<Digest> = names(store)?.into_iter().map(|record| record.digest).collect();
    let mut gone = Vec::new();
    let mut taken = Vec::new();
    for digest in store.digests_of_images()?.into_iter().filter(|digest| !named.contains(digest) && !needed(digest)) {
        if let Some(folder) = take_away(store, &digest)? {
            taken.push(folder);
            gone.push(digest);
        }
    }
    // Gigabytes go with the folders that were taken; nobody need wait for that.
    drop(naming);
    drop(taken);
    Ok(gone)
}

/// Takes an image's folder away whole, so that nobody sees half of it; it is removed with what this returns. The caller holds
/// the names.
fn take_away(store: &Store, digest: &Digest) -> Result<Option<Staging>, ImageError> {
    let folder = store.image(digest);
    let staging = store.stage()?;
    match atomic::take_away(&folder, &staging.path().join("gone")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => Ok(result.map(|()| Some(staging)).map_err(StoreError::io("remove", &folder))?),
    }
}

/// Gives `name` to an image that is in the store. Nothing when it is not there any more: the last of its names was deleted
/// after it was found there.
pub(super) fn set_name(store: &Store, name: &ImageRef, digest: Digest) -> Result<Option<Image>, ImageError> {
    let _naming = store.naming(&store.image_names())?;
    let image = match describe(store, Name { name: name.clone(), digest }) {
        Err(ImageError::Gone { .. }) => return Ok(None),
        described => described?,
    };
    let path = name_path(store, name);
    store.write_file(&path, &to_json(&path, &Name { name: name.clone(), digest })?)?;
    Ok(Some(image))
}

/// The bytes of a record that is meant for `path`.
pub(super) fn to_json(path: &Path, record: &impl Serialize) -> Result<Vec<u8>, ImageError> {
    serde_json::to_vec_pretty(record).map_err(|source| ImageError::Record { path: path.to_owned(), source })
}

/// References hold slashes and may be longer than a file's name can be.
fn name_path(store: &Store, name: &ImageRef) -> PathBuf {
    let digest = Digest::from_bytes(Sha256::digest(name.to_string()).into());
    store.image_names().join(format!("{}.json", digest.hex()))
}

/// All names, or why one of them cannot be told.
fn names(store: &Store) -> Result<Vec<Name>, ImageError> {
    name_files(store)?.iter().map(|path| read_json(path)).collect()
}

fn name_files(store: &Store) -> Result<Vec<PathBuf>, ImageError> {
    let folder = store.image_names();
    let entries = fs::read_dir(&folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(StoreError::io("read the folder", &folder))?;
    Ok(entries.into_iter().map(|entry| entry.path()).collect())
}

fn read_name(store: &Store, name: &ImageRef) -> Result<Option<Name>, ImageError> {
    let path = name_path(store, name);
    match read_json::<Name>(&path) {
        Ok(found) if found.name.to_string() == name.to_string() => Ok(Some(found)),
        Ok(found) => {
            let source = serde_json::Error::custom(format_args!("it is the record of {}", found.name));
            Err(ImageError::Record { path, source })
        }
        Err(ImageError::Store(StoreError::Io { source, .. })) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn describe(store: &Store, record: Name) -> Result<Image, ImageError> {
    let (manifest, _) = files(store, &record.digest)?;
    Ok(Image { name: record.name, digest: record.digest, manifest })
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, ImageError> {
    let text = fs::read(path).map_err(StoreError::io("read", path))?;
    serde_json::from_slice(&text).map_err(|source| ImageError::Record { path: path.to_owned(), source })
}
