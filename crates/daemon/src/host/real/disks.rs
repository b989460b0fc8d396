//! A VM's disks and the folder that they are in.

use super::{places::Places, task};
use crate::{
    boot_files::BootFiles,
    db::VmRow,
    host::{Change, HostError},
    resource::Resource,
};
use banger_image::{disk, image};
use banger_model::{VmId, host_name::VmFile};
use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

/// Makes the work disk, and the VM's folder for it: it is the first resource.
pub(super) async fn ensure_work(places: &Places, files: &BootFiles, vm: &VmRow) -> Result<Change, HostError> {
    let (folder, path) = (places.folder(vm.id), places.file(vm.id, VmFile::WorkDisk));
    let (files, digest, size) = (files.clone(), vm.spec.image_digest, vm.spec.disk);
    task(move || {
        make_folder(Resource::WorkDisk, &folder)?;
        if path.exists() {
            return Ok(Change::Unchanged);
        }
        let (_, image) = image::files(files.store(), &digest).map_err(|source| HostError::Image { source })?;
        disk::make_work(&path, size, Some(&image.seed))
            .map_err(|source| HostError::Disk { resource: Resource::WorkDisk, source })?;
        Ok(Change::Changed)
    })
    .await
}

/// Makes the writable layer.
pub(super) async fn ensure_layer(places: &Places, vm: &VmRow) -> Result<Change, HostError> {
    let (path, size) = (places.file(vm.id, VmFile::Layer), vm.spec.disk);
    task(move || {
        if path.exists() {
            return Ok(Change::Unchanged);
        }
        disk::make_layer(&path, size).map_err(|source| HostError::Disk { resource: Resource::Layer, source })?;
        Ok(Change::Changed)
    })
    .await
}

/// Removes the writable layer.
pub(super) async fn remove_layer(places: &Places, id: VmId) -> Result<Change, HostError> {
    let path = places.file(id, VmFile::Layer);
    task(move || removed(Resource::Layer, &path, fs::remove_file(&path))).await
}

/// Removes the work disk, and with it all that is left in the VM's folder: it goes last.
pub(super) async fn remove_work(places: &Places, id: VmId) -> Result<Change, HostError> {
    remove_tree(Resource::WorkDisk, places.folder(id)).await
}

/// A folder for its owner only; it may be there.
pub(super) fn make_folder(resource: Resource, path: &Path) -> Result<(), HostError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| HostError::File {
        resource,
        path: path.into(),
        source,
    })
}

/// What the files of a folder take of the disk, in bytes: holes take nothing.
pub(super) fn used(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    // `st_blocks` counts 512 bytes, whatever the file system's own blocks are (stat(2)).
    entries.filter_map(|entry| entry.metadata().ok()).map(|found| found.blocks() * 512).sum()
}

/// Removes a folder with all that is in it.
pub(super) async fn remove_tree(resource: Resource, path: PathBuf) -> Result<Change, HostError> {
    task(move || removed(resource, &path, fs::remove_dir_all(&path))).await
}

fn removed(resource: Resource, path: &Path, outcome: io::Result<()>) -> Result<Change, HostError> {
    match outcome {
        Ok(()) => Ok(Change::Changed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Change::Unchanged),
        Err(source) => Err(HostError::File { resource, path: path.into(), source }),
    }
}
