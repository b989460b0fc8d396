//! The root file system: the read-only image with the VM's layer over it.
//!
//! Owns: assembling it in the initramfs and making it the root of this process, and so of every other. The layer's two
//! further folders, for container engines, are taken along as detached mounts: their own overlays must not lie on ours.

use super::BootError;
use super::disks::Disks;
use super::mounts::{folder, mount_at};
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Gid, Mode, Uid, chmod, chown, stat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, OpenTreeFlags, UnmountFlags, mount_move, open_tree, unmount};
use rustix::process::{chdir, chroot};
use std::path::Path;

const IMAGE: &str = "/image";
const LAYER: &str = "/layer";
const UPPER: &str = "/layer/upper";
const WORK: &str = "/layer/work";
const NEW_ROOT: &str = "/new-root";

/// `redirect_dir`: folders of the image can be renamed, as everywhere else. `xino`: inode numbers are those of one file system.
const OVERLAY: &str = "lowerdir=/image,upperdir=/layer/upper,workdir=/layer/work,redirect_dir=on,xino=auto";

/// What container engines store lies in these folders of the layer, and belongs at those places.
const ENGINES: [(&str, &str); 2] = [("/layer/docker", "/var/lib/docker"), ("/layer/containers", "/var/lib/containers")];

/// A folder of the layer that is mounted nowhere yet.
#[derive(Debug)]
pub(super) struct EngineFolder {
    pub(super) tree: OwnedFd,
    pub(super) target: &'static str,
}

/// Mounts image and layer, and the overlay of both at the place of the new root.
pub(super) fn assemble(disks: &Disks) -> Result<Vec<EngineFolder>, BootError> {
    mount_at(&disks.image, IMAGE, "ext4", MountFlags::RDONLY, "")?;
    mount_at(&disks.layer, LAYER, "ext4", MountFlags::empty(), "discard,noinit_itable")?;
    let fresh = folder(UPPER, 0o755)?;
    folder(WORK, 0o700)?;
    if fresh {
        like_image_root().map_err(|source| BootError::Folder { path: UPPER.into(), source })?;
    }
    mount_at(Path::new("overlay"), NEW_ROOT, "overlay", MountFlags::empty(), OVERLAY)?;
    let engines = ENGINES.into_iter().map(|(source, target)| {
        folder(source, 0o711)?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(CWD, source, flags).map_err(|source| BootError::Mount {
            what: target.to_owned(),
            target: NEW_ROOT.into(),
            source,
        })?;
        Ok(EngineFolder { tree, target })
    });
    let engines = engines.collect::<Result<_, _>>()?;
    for below in [IMAGE, LAYER] {
        // The overlay holds on to them; nobody else shall find them.
        let _ = unmount(below, UnmountFlags::DETACH);
    }
    Ok(engines)
}

/// The root's own owner and mode are those of the upper folder.
fn like_image_root() -> Result<(), Errno> {
    let image = stat(IMAGE)?;
    chown(UPPER, Some(Uid::from_raw(image.st_uid)), Some(Gid::from_raw(image.st_gid)))?;
    chmod(UPPER, Mode::from_raw_mode(image.st_mode & 0o7777))
}

/// Makes the new root the root, with the kernel's file systems in it, and drops what is left of the initramfs. The agent's
/// own program stays in memory for as long as it runs, although its file is gone.
pub(super) fn switch() -> Result<(), BootError> {
    for kernel in ["dev", "proc", "sys"] {
        let (from, to) = (Path::new("/").join(kernel), Path::new(NEW_ROOT).join(kernel));
        folder(&to, 0o755)?;
        let moved = mount_move(&from, &to);
        moved.map_err(|source| BootError::Mount { what: kernel.to_owned(), target: to, source })?;
    }
    let _ = std::fs::remove_file("/init");
    let switch = || {
        chdir(NEW_ROOT)?;
        mount_move(".", "/")?;
        chroot(".")?;
        chdir("/")
    };
    switch().map_err(|source| BootError::Switch { source })
}
