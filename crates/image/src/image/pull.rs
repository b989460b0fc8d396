//! Getting images.

use super::store::{self, FORMAT, Manifest, file};
use super::{Image, ImageError, PullOptions, init, seed};
use crate::cancel::Cancel;
use crate::effect;
use crate::ext4::{self, InodeId, Kind, Meta, Spool, Time, Tree, Volume};
use crate::layer;
use crate::progress::Progress;
use crate::source::{self, Resolved};
use crate::store::{Existing, Lengths, Staging, Store, StoreError};
use banger_model::wire::guest::label;
use banger_model::{ByteSize, Digest, ImageRef};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{SystemTime, UNIX_EPOCH};

/// Brings the image that `name` means into the store. If the name is there already, nothing is asked of its source unless
/// `force` says so; if what it means is there already, only the name is written.
///
/// # Errors
/// When the image is not to be had, cannot be used, or the store fails. The store is as it was then.
pub fn pull(
    store: &Store,
    name: &ImageRef,
    force: bool,
    options: &PullOptions,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Image, ImageError> {
    if !force {
        match store::get(store, name) {
            Ok(image) if is_here(store, &image.digest) => return Ok(image),
            // What is damaged or out of date is made again.
            _ => {}
        }
    }
    loop {
        let digest = fetch(store, name, options, progress, cancel)?;
        // Nothing: it was found here, and went with the last of its other names. So it is made again.
        if let Some(image) = store::set_name(store, name, digest)? {
            return Ok(image);
        }
    }
}

/// Brings an image of this host's, a file or a folder, under a name of the user's into the store.
///
/// # Errors
/// As [`pull`]; when the name is of the catalog, or means another image already.
pub fn import(
    store: &Store,
    source: &ImageRef,
    name: &ImageRef,
    options: &PullOptions,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Image, ImageError> {
    if source.local_path().is_none() {
        return Err(ImageError::NotLocal { name: source.clone() });
    }
    if matches!(name, ImageRef::Catalog(_)) {
        return Err(ImageError::Reserved { name: name.clone() });
    }
    loop {
        let digest = fetch(store, source, options, progress, cancel)?;
        match store::get(store, name) {
            Ok(here) if here.digest == digest => return Ok(here),
            Ok(_) => return Err(ImageError::NameTaken { name: name.clone() }),
            // A name without an image, or a record that cannot be read, is as good as none.
            Err(_) => {}
        }
        if let Some(image) = store::set_name(store, name, digest)? {
            return Ok(image);
        }
    }
}

/// Makes sure that what `name` means at its source is in the store.
fn fetch(
    store: &Store,
    name: &ImageRef,
    options: &PullOptions,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Digest, ImageError> {
    progress.stage("find the image");
    let source = source::resolve(name, options, progress, cancel)?;
    if let Some(digest) = source.digest().filter(|digest| is_here(store, digest)) {
        return Ok(digest);
    }
    let staging = store.stage()?;
    let root = staging.path().join(file::ROOT);
    progress.stage("unpack the layers");
    let mut spool = Spool::in_image(&root, layer::planned_size(&source)).map_err(ImageError::ext4(name))?;
    let mut tree = layer::unpack(&source, &mut spool, progress, cancel).map_err(ImageError::unpack(name))?;
    let digest = source.digest().ok_or_else(|| ImageError::NoDigest { name: name.clone() })?;
    if is_here(store, &digest) {
        return Ok(digest);
    }
    progress.stage("write the file system");
    let mut warnings = Vec::new();
    let home = home(&mut tree, &mut warnings);
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&digest.as_bytes()[..16]);
    let volume = Volume { label: label::IMAGE, uuid, made: 0 };
    ext4::build(&mut tree, spool, &volume, cancel).map_err(ImageError::ext4(name))?;
    describe(&staging, &source, &tree, home, warnings)?;
    cancel.check()?;
    // A folder that is there now is another pull's, and equal, or one that cannot be read.
    let existing = if is_here(store, &digest) { Existing::Keep } else { Existing::Replace };
    staging.place(&store.image(&digest), existing)?;
    Ok(digest)
}

/// Whether the image is in the store, in the present form, and as far as can be told without reading all of it whole.
pub fn is_here(store: &Store, digest: &Digest) -> bool {
    store::files(store, digest)
        .is_ok_and(|(manifest, files)| manifest.format == FORMAT && seed::Seed::open(&files.seed).is_ok())
}

/// Where root is at home. A folder is made if there is none, because a VM's work disk is mounted there.
fn home(tree: &mut Tree, warnings: &mut Vec<String>) -> Option<InodeId> {
    const HOME: &[u8] = b"root";
    match tree.resolve(HOME) {
        Some(id) if matches!(tree.inode(id).kind, Kind::Dir(_)) => return Some(id),
        None if tree.child(Tree::ROOT, HOME).is_none() => {
            return Some(tree.dir(Tree::ROOT, HOME, Meta::root(0o700, Time::default())));
        }
        _ => {}
    }
    warnings.push("/root is no folder in this image, so work disks begin empty and cannot be mounted there".to_owned());
    None
}

/// Writes what lies beside the file system.
fn describe(
    staging: &Staging,
    source: &Resolved,
    tree: &Tree,
    home: Option<InodeId>,
    warnings: Vec<String>,
) -> Result<(), ImageError> {
    let seed_path = staging.path().join(file::SEED);
    let seed = match home {
        Some(home) => seed::to_json(tree, home),
        None => seed::to_json(&Tree::new(Meta::root(0o700, Time::default())), Tree::ROOT),
    };
    let seed = seed.map_err(|source| ImageError::Record { path: seed_path.clone(), source })?;
    effect::write(&seed_path, &seed).map_err(StoreError::io("write", &seed_path))?;
    let root = staging.path().join(file::ROOT);
    let size = fs::metadata(&root).map_err(StoreError::io("read", &root))?.blocks() * 512;
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let manifest = Manifest {
        format: FORMAT,
        size: ByteSize(size),
        created_ms: u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX),
        init: init::find(tree).map(str::to_owned),
        config: source.config().clone(),
        warnings,
        lengths: Lengths::of(staging.path())?,
    };
    let path = staging.path().join(file::MANIFEST);
    effect::write(&path, &store::to_json(&path, &manifest)?).map_err(StoreError::io("write", &path))?;
    Ok(())
}
