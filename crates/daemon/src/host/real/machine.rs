//! The VMM of a VM: what it is given, and its start.

use super::{places::Places, task};
use crate::{
    boot_files::BootFiles,
    config::{ConfigError, ConfigFile},
    db::VmRow,
    host::HostError,
};
use banger_image::image;
use banger_model::{
    VmId,
    host_name::{VmFile, boot_of_console},
    spec::{NetMode, VmmKind},
};
use banger_vmm::{Binary, Disk, Engine, Kernel, MacAddr, NetAttachment, Overrides, VmmConfig, binary};
use std::{ffi::OsStr, fs, path::Path};

/// Consoles of so many boots are kept, the present one included.
const CONSOLES_KEPT: u32 = 5;
/// What the disks of a VM are, in the order in which its VMM is given them.
pub(super) const DISKS: [&str; 4] = ["image", "modules", "layer", "work"];

/// The programs that the user named.
pub(super) fn overrides(config: &ConfigFile) -> Result<Overrides, ConfigError> {
    let programs = config.load()?.programs;
    Ok(Overrides { firecracker: programs.firecracker, qemu: programs.qemu })
}

/// The program that is to run it, as the boot's row says.
pub(super) async fn program(config: &ConfigFile, kind: VmmKind, search_path: &OsStr) -> Result<Binary, HostError> {
    let overrides = overrides(config)?;
    let configured = match kind {
        VmmKind::Firecracker => overrides.firecracker,
        VmmKind::Qemu => overrides.qemu,
    };
    binary::discover(kind, configured.as_deref(), search_path).await.map_err(|source| HostError::Program { source })
}

/// Everything about the boot that is on record.
pub(super) async fn config(
    places: &Places,
    files: &BootFiles,
    vm: &VmRow,
    program: Binary,
) -> Result<VmmConfig, HostError> {
    let boot = vm.boot.as_ref().ok_or(HostError::NoBoot)?;
    let engine = Engine::of(boot.vmm, boot.accel).ok_or(HostError::NoBoot)?;
    let (files, digest, image) = (files.clone(), vm.spec.kernel_digest, vm.spec.image_digest);
    let (kernel, modules, root) = task(move || {
        let (_, image) = image::files(files.store(), &image).map_err(|source| HostError::Image { source })?;
        let (kernel, modules) = boot_kernel(&files, &digest)?;
        Ok((kernel, modules, image.root))
    })
    .await?;
    let disk = |path: &Path, read_only| Disk { path: path.into(), read_only };
    Ok(VmmConfig {
        vm: vm.id,
        engine,
        binary: program,
        vcpu: vm.spec.vcpu,
        memory: vm.spec.memory,
        kernel,
        kernel_args: Vec::new(),
        // As `DISKS` says.
        disks: vec![
            disk(&root, true),
            disk(&modules, true),
            disk(&places.file(vm.id, VmFile::Layer), false),
            disk(&places.file(vm.id, VmFile::WorkDisk), false),
        ],
        disk_limits: vm.spec.limits,
        net: (vm.spec.net == NetMode::User)
            .then(|| NetAttachment { socket: places.net_socket(vm.id), mac: MacAddr::of(vm.id) }),
        runtime_dir: places.runtime(vm.id),
        console_log: places.console(vm.id, vm.boots),
        vmm_log: places.file(vm.id, VmFile::VmmLog),
        metrics: places.file(vm.id, VmFile::Metrics),
        record: places.file(vm.id, VmFile::VmmRecord),
        cgroup: None,
    })
}

/// What boots, and the disk with its modules. Blocks.
pub(super) fn boot_kernel(
    files: &BootFiles,
    digest: &banger_model::Digest,
) -> Result<(Kernel, std::path::PathBuf), HostError> {
    let kernel = files.kernel(digest).map_err(|source| HostError::Kernel { source })?;
    let initramfs = files.initramfs(digest).map_err(|source| HostError::Initramfs { source })?;
    let boots = Kernel { bzimage: kernel.boot_image, elf: Some(kernel.elf), initramfs, hz: Kernel::DEFAULT_HZ };
    Ok((boots, kernel.modules))
}

/// Removes the consoles of boots long ago. Best effort: what stays is removed with the VM.
pub(super) fn drop_old_consoles(places: &Places, id: VmId, boot: u32) {
    let entries = fs::read_dir(places.folder(id)).into_iter().flatten().filter_map(Result::ok);
    for entry in entries {
        let old = entry.file_name().to_str().and_then(boot_of_console);
        if old.is_some_and(|old| old.saturating_add(CONSOLES_KEPT) <= boot) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
