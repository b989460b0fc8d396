//! Which files a VMM may use, and how: pure.
//!
//! A VM's own files are named one by one. Its folder for sockets is the only one where something may be made or removed, and that
//! only sockets. The rest is what a program needs to come up, all of it public: no file of the user's is among it.

use crate::config::VmmConfig;
use banger_model::spec::{Accel, VmmKind};
use std::path::{Path, PathBuf};

/// Where the system has its shared libraries. QEMU loads parts of itself from there too.
const LIBRARIES: [&str; 7] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/nix/store", "/gnu/store"];
/// What the dynamic loader reads to find them.
const LOADER: [&str; 2] = ["/etc/ld.so.cache", "/etc/ld.so.preload"];
/// Firmware for QEMU's machines, below a prefix such as `/usr`. Debian's links lead from the one to the other.
const FIRMWARE: [&str; 2] = ["share/qemu", "share/seabios"];

/// What may be done with a file, or with all that is below a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    /// Read it and become it.
    Execute,
    /// Read, write and shorten it.
    Write,
    /// Read, write and command it: a device, or a disk that may be one.
    Device,
    /// Make and remove sockets in the folder.
    Sockets,
}

/// One permission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) path: PathBuf,
    pub(super) access: Access,
}

/// All that the VMM of such a VM may use. `interpreters` are the files that its program is started by: see
/// [`super::program`].
pub(super) fn of(config: &VmmConfig, interpreters: &[PathBuf]) -> Vec<Grant> {
    let mut grants = Vec::new();
    let mut grant = |path: &Path, access| grants.push(Grant { path: path.into(), access });
    grant(&config.binary.path, Access::Execute);
    interpreters.iter().for_each(|file| grant(file, Access::Execute));
    // What needs no interpreter is linked statically and reads none of these.
    if !interpreters.is_empty() {
        LIBRARIES.iter().chain(&LOADER).for_each(|path| grant(path.as_ref(), Access::Read));
    }
    if config.engine.kind() == VmmKind::Qemu {
        FIRMWARE.iter().for_each(|folder| grant(&Path::new("/usr").join(folder), Access::Read));
        // One that was not installed by the system has its own libraries and firmware beside the folder of its program.
        if let Some(prefix) = own_prefix(&config.binary.path) {
            ["lib", "lib64"].iter().chain(&FIRMWARE).for_each(|folder| grant(&prefix.join(folder), Access::Read));
        }
    }

    let kernel = &config.kernel;
    kernel
        .for_engine(config.engine)
        .into_iter()
        .chain([kernel.initramfs.as_path()])
        .for_each(|file| grant(file, Access::Read));
    for disk in &config.disks {
        grant(&disk.path, if disk.read_only { Access::Read } else { Access::Device });
    }
    grant(&config.console_log, Access::Write);
    grant(&config.vmm_log, Access::Write);
    if config.engine.kind() == VmmKind::Firecracker {
        grant(&config.metrics, Access::Write);
    }
    grant(&config.runtime_dir, Access::Sockets);

    if config.engine.accel() == Accel::Kvm {
        grant("/dev/kvm".as_ref(), Access::Device);
    }
    // QEMU tries its file locks on the one; both draw the guest's entropy from the other.
    grant("/dev/null".as_ref(), Access::Write);
    grant("/dev/urandom".as_ref(), Access::Read);
    grants
}

/// The folder above `bin` of a program that is not the system's.
fn own_prefix(binary: &Path) -> Option<&Path> {
    let bin = binary.parent().filter(|folder| folder.ends_with("bin"))?;
    bin.parent().filter(|prefix| *prefix != Path::new("/usr") && *prefix != Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Disk, Engine, example};

    fn shown(config: &VmmConfig, interpreters: &[PathBuf]) -> String {
        let lines =
            of(config, interpreters).into_iter().map(|grant| format!("{:?} {}", grant.access, grant.path.display()));
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_static_firecracker_gets_its_vms_files_and_kvm() {
        let mut config = example(Engine::Firecracker);
        config.disks =
            vec![Disk { path: "/d/image".into(), read_only: true }, Disk { path: "/d/layer".into(), read_only: false }];
        insta::assert_snapshot!(shown(&config, &[]), @r"
        Execute /bin/vmm
        Read /k/vmlinux
        Read /k/initramfs
        Read /d/image
        Device /d/layer
        Write /s/console
        Write /s/log
        Write /s/metrics
        Sockets /r
        Device /dev/kvm
        Write /dev/null
        Read /dev/urandom
        ");
    }

    #[test]
    fn qemu_gets_libraries_and_firmware_too_and_kvm_only_to_use_it() {
        let mut config = example(Engine::QemuTcg);
        config.binary.path = "/opt/q/bin/qemu-system-x86_64".into();
        insta::assert_snapshot!(shown(&config, &["/lib64/ld.so".into()]), @r"
        Execute /opt/q/bin/qemu-system-x86_64
        Execute /lib64/ld.so
        Read /lib
        Read /lib64
        Read /usr/lib
        Read /usr/lib64
        Read /usr/local/lib
        Read /nix/store
        Read /gnu/store
        Read /etc/ld.so.cache
        Read /etc/ld.so.preload
        Read /usr/share/qemu
        Read /usr/share/seabios
        Read /opt/q/lib
        Read /opt/q/lib64
        Read /opt/q/share/qemu
        Read /opt/q/share/seabios
        Read /k/vmlinux
        Read /k/initramfs
        Write /s/console
        Write /s/log
        Sockets /r
        Write /dev/null
        Read /dev/urandom
        ");
    }

    #[test]
    fn a_programs_folder_that_is_no_bin_opens_nothing_above_it() {
        assert_eq!(own_prefix("/home/u/.local/bin/qemu".as_ref()), Some("/home/u/.local".as_ref()));
        for system in ["/usr/bin/qemu", "/bin/qemu", "/home/u/qemu", "qemu"] {
            assert_eq!(own_prefix(system.as_ref()), None, "{system}");
        }
    }
}
