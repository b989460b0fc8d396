//! What a few system calls tell about `/dev/kvm`.

#![allow(unsafe_code)]

use super::{Absent, Unusable};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// `KVM_GET_API_VERSION` and `KVM_CREATE_VM` of `linux/kvm.h`.
const GET_API_VERSION: libc::c_ulong = 0xae00;
const CREATE_VM: libc::c_ulong = 0xae01;
/// The only version there will ever be.
const API_VERSION: libc::c_int = 12;

/// The device, which is there and may be opened.
pub(super) fn open() -> Result<File, Unusable> {
    let path = Path::new("/dev/kvm");
    OpenOptions::new().read(true).write(true).open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Unusable::NoDevice { because: Absent::look() },
        io::ErrorKind::PermissionDenied => {
            let group = group_that_may(path);
            let joined = group.as_deref().is_some_and(is_member);
            Unusable::NoPermission { group, joined }
        }
        // What stands behind the node is not there.
        _ if error.raw_os_error() == Some(libc::ENODEV) || error.raw_os_error() == Some(libc::ENXIO) => {
            Unusable::NoDevice { because: Absent::look() }
        }
        _ => broken(&error),
    })
}

/// Whether the device makes a VM. To make one and take it away again may take the kernel longer than to start a program.
pub(super) fn makes_a_vm(device: &File) -> Result<(), Unusable> {
    make_a_vm(device).map_err(|error| broken(&error))
}

fn broken(error: &io::Error) -> Unusable {
    Unusable::Device { reason: error.to_string(), busy: error.raw_os_error() == Some(libc::EBUSY) }
}

fn make_a_vm(device: &File) -> io::Result<()> {
    // SAFETY: the request takes no argument and returns a number.
    let version = unsafe { libc::ioctl(device.as_raw_fd(), GET_API_VERSION, 0) };
    if version != API_VERSION {
        return Err(match version {
            -1 => io::Error::last_os_error(),
            _ => io::Error::new(io::ErrorKind::Unsupported, format!("KVM API version {version}")),
        });
    }
    // SAFETY: the request takes the machine type, of which zero is x86's only one, and returns a new descriptor.
    let vm = unsafe { libc::ioctl(device.as_raw_fd(), CREATE_VM, 0) };
    if vm < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    drop(unsafe { OwnedFd::from_raw_fd(vm) });
    Ok(())
}

/// The group whose members may read and write the file, if it is not root's own.
fn group_that_may(path: &Path) -> Option<String> {
    let meta = std::fs::metadata(path).ok().filter(|meta| meta.permissions().mode() & 0o060 == 0o060)?;
    let groups = std::fs::read_to_string("/etc/group").ok()?;
    group_name(&groups, meta.gid()).filter(|name| name != "root")
}

/// Whether our user is named as one of the group's, whatever this process was started with.
fn is_member(group: &str) -> bool {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    user_name(&read("/etc/passwd"), rustix::process::getuid().as_raw())
        .is_some_and(|user| names(&read("/etc/group"), group, &user))
}

/// Looks the number up in a text like `/etc/passwd`: `name:password:number:…`.
fn user_name(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse::<u32>().ok()? == uid).then(|| name.to_owned())
    })
}

/// Whether a text like `/etc/group` names the user among the group's members.
fn names(groups: &str, group: &str, user: &str) -> bool {
    groups.lines().any(|line| {
        let mut fields = line.split(':');
        fields.next() == Some(group) && fields.nth(2).is_some_and(|members| members.split(',').any(|name| name == user))
    })
}

/// Looks the number up in a text like `/etc/group`: `name:password:number:members`.
fn group_name(groups: &str, gid: u32) -> Option<String> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse::<u32>().ok()? == gid).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_by_number() {
        let groups = "root:x:0:\nbroken\nkvm:x:104:ann,bob\n";
        assert_eq!(group_name(groups, 104).as_deref(), Some("kvm"));
        assert_eq!(group_name(groups, 105), None);
        assert!(names(groups, "kvm", "bob") && !names(groups, "kvm", "bo") && !names(groups, "root", "bob"));
        assert_eq!(user_name("root:x:0:0:root:/root:/bin/sh\nann:x:1000:\n", 1000).as_deref(), Some("ann"));
    }

    #[test]
    fn a_file_for_its_owner_only_has_no_group_that_may() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(group_that_may(file.path()), None);
    }
}
