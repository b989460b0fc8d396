//! What is mounted where, besides the root.
//!
//! Owns: the kernel's file systems, those that every program expects, and the VM's further disks. Mount points that the image
//! does not have are made: the root can be written.

use super::BootError;
use super::disks::Disks;
use super::root::EngineFolder;
use rustix::fs::{CWD, Mode, chmod, mkdir};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MoveMountFlags, mount, move_mount};
use std::ffi::CString;
use std::path::Path;

const NO_PROGRAMS: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);
const NO_DEVICES: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

/// In the initramfs: what the agent itself needs.
pub(super) fn kernel_file_systems() -> Result<(), BootError> {
    mount_at(Path::new("devtmpfs"), "/dev", "devtmpfs", MountFlags::NOSUID, "mode=755")?;
    mount_at(Path::new("proc"), "/proc", "proc", NO_PROGRAMS, "")?;
    mount_at(Path::new("sysfs"), "/sys", "sysfs", NO_PROGRAMS, "")
}

/// In the new root: what programs expect.
pub(super) fn usual(warnings: &mut Vec<String>) {
    let mounts = [
        ("tmpfs", "/run", NO_DEVICES, "mode=755"),
        ("devpts", "/dev/pts", MountFlags::NOSUID.union(MountFlags::NOEXEC), "gid=5,mode=620,ptmxmode=666"),
        ("tmpfs", "/dev/shm", NO_DEVICES, "mode=1777"),
    ];
    for (kind, target, flags, options) in mounts {
        note(warnings, mount_at(Path::new(kind), target, kind, flags, options));
    }
    for (link, to) in [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")] {
        let _ = std::os::unix::fs::symlink(to, Path::new("/dev").join(link));
    }
    match folder("/tmp", 0o1777) {
        // Making a folder does not set its sticky bit.
        Ok(true) => drop(chmod("/tmp", Mode::from_raw_mode(0o1777))),
        Ok(false) => {}
        Err(error) => warnings.push(error.to_string()),
    }
}

/// The work disk and the kernel's modules, in the new root.
pub(super) fn disks(disks: &Disks, warnings: &mut Vec<String>) -> Result<(), BootError> {
    if let Some(work) = &disks.work {
        mount_at(work, "/root", "ext4", MountFlags::empty(), "discard,noinit_itable")?;
        // Every new file system has it, but nobody wants it in a home. e2fsck makes another when it finds something.
        let _ = rustix::fs::rmdir("/root/lost+found");
    }
    if let Some(modules) = &disks.modules {
        let uname = rustix::system::uname();
        let target = Path::new("/lib/modules").join(&*uname.release().to_string_lossy());
        note(warnings, mount_at(modules, &target, "ext4", MountFlags::RDONLY.union(NO_DEVICES), ""));
    }
    Ok(())
}

/// Container engines' folders. What the image has in them already stays where it is.
pub(super) fn engines(folders: Vec<EngineFolder>, warnings: &mut Vec<String>) {
    for EngineFolder { tree, target } in folders {
        if holds_files(Path::new(target)) {
            warnings
                .push(format!("{target} is part of the image, so it lies on the overlay and not on a disk of its own"));
            continue;
        }
        let attached = folder(target, 0o711).and_then(|_| {
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
            move_mount(tree, "", CWD, target, flags).map_err(|source| BootError::Mount {
                what: "a folder of the layer".to_owned(),
                target: target.into(),
                source,
            })
        });
        note(warnings, attached);
    }
}

/// Whether there is anything but folders below `path`.
fn holds_files(path: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(path) else { return false };
    entries.flatten().any(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => holds_files(&entry.path()),
        _ => true,
    })
}

/// Mounts `source` at `target`, which is made when missing.
pub(super) fn mount_at(
    source: &Path,
    target: impl AsRef<Path>,
    kind: &str,
    flags: MountFlags,
    options: &str,
) -> Result<(), BootError> {
    let target = target.as_ref();
    folder(target, 0o755)?;
    let options = CString::new(options).unwrap_or_default();
    mount(source, target, kind, flags, options.as_c_str()).map_err(|error| BootError::Mount {
        what: source.display().to_string(),
        target: target.to_owned(),
        source: error,
    })
}

/// Makes a folder and its parents. Says whether it is new.
pub(super) fn folder(path: impl AsRef<Path>, mode: u32) -> Result<bool, BootError> {
    let path = path.as_ref();
    match mkdir(path, Mode::from_raw_mode(mode)) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(Errno::NOENT) if path.parent().is_some_and(|parent| parent != path) => {
            folder(path.parent().unwrap_or(path), 0o755)?;
            folder(path, mode)
        }
        Err(source) => Err(BootError::Folder { path: path.to_owned(), source }),
    }
}

fn note(warnings: &mut Vec<String>, result: Result<(), BootError>) {
    warnings.extend(result.err().map(|error| error.to_string()));
}
