//! Settings, folders, memory and devices.

use super::{fail, pass, warn};
use crate::{App, verbs::chain};
use banger_model::{
    ByteSize,
    api::{doctor::Check, vm::CreateVm},
};
use std::path::Path;

/// An image, its disks and what is on the way to becoming one want some room.
const COMFORTABLE: ByteSize = ByteSize::gib(5);
/// Less than this and not even the catalog's image fits.
const LEAST: ByteSize = ByteSize::gib(1);

/// The configuration file.
pub(super) fn configuration(app: &App) -> Check {
    let path = app.config.path().display().to_string();
    match app.config.load() {
        Ok(_) if app.config.path().exists() => pass("configuration", path),
        Ok(_) => pass("configuration", format!("{path} is not there: the defaults hold")),
        Err(error) => fail("configuration", chain(&error), format!("correct {path}, or remove it")),
    }
}

/// What a VM gets when nobody says otherwise, and where that comes from.
pub(super) fn defaults(app: &App) -> Check {
    let name = "defaults of VMs";
    let config = match app.config.load() {
        Ok(config) => config,
        Err(_) => {
            return warn(name, "cannot tell as long as the configuration is not usable", "correct the configuration");
        }
    };
    let wanted = match config.resolve(&CreateVm::default(), &app.host_facts, app.host.user_net()) {
        Ok(wanted) => wanted,
        Err(error) => return fail(name, chain(&error), "correct `[vm]` in the configuration"),
    };
    let own = &config.vm;
    let from = |configured: bool, otherwise: &'static str| if configured { "configured" } else { otherwise };
    pass(
        name,
        format!(
            "{} vcpu ({}), memory {} ({}), disk {} ({}), image {} ({}), kernel {} ({}), VMM {} ({}), network {} ({})",
            wanted.vcpu,
            from(own.vcpu.is_some(), "from the host"),
            wanted.memory,
            from(own.memory.is_some(), "from the host"),
            wanted.disk,
            from(own.disk_size.is_some(), "built in"),
            wanted.image,
            from(own.image.is_some(), "built in"),
            wanted.kernel,
            from(own.kernel.is_some(), "built in"),
            wanted.vmm,
            from(own.vmm.is_some(), "built in"),
            wanted.net,
            from(own.net.is_some(), "from the host"),
        ),
    )
}

/// The daemon's own folders, and the room on their disks.
pub(super) fn folders(app: &App) -> Vec<Check> {
    let paths = &app.paths;
    vec![
        folder("data folder", &paths.data, "XDG_DATA_HOME", true),
        folder("state folder", &paths.state, "XDG_STATE_HOME", true),
        folder("runtime folder", &paths.runtime, "XDG_RUNTIME_DIR", false),
    ]
}

fn folder(name: &str, path: &Path, variable: &str, holds_disks: bool) -> Check {
    let shown = path.display();
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    if let Err(errno) = rustix::fs::access(path, access) {
        let fix = format!("make it yours, or set {variable} to a folder of yours and restart the daemon");
        return fail(name, format!("cannot write in {shown}: {errno}"), fix);
    }
    let free = match rustix::fs::statvfs(path) {
        Ok(disk) => ByteSize(disk.f_bavail.saturating_mul(disk.f_frsize)),
        Err(errno) => {
            return warn(
                name,
                format!("{shown}: cannot tell how much is free: {errno}"),
                "check the disk that holds it",
            );
        }
    };
    let detail = format!("{shown}: {free} free");
    let fix = || format!("free some room there, or set {variable} to a folder on a larger disk");
    match free {
        _ if !holds_disks => pass(name, detail),
        free if free < LEAST => fail(name, detail, fix()),
        free if free < COMFORTABLE => warn(name, detail, fix()),
        _ => pass(name, detail),
    }
}

/// Whether the memory that a VM gets is there now.
pub(super) async fn memory(app: &App) -> Check {
    let wanted = app.host_facts.default_memory();
    match app.check_memory(wanted).await {
        Ok(()) => pass(
            "memory",
            format!("{} of the host's {} for each VM, and that is free", wanted, app.host_facts.memory_total),
        ),
        Err(error) => warn("memory", chain(&error), "end a VM or something else, or give VMs less with `--memory`"),
    }
}

/// Whether VMs' disks may outgrow the host's.
pub(super) async fn disks(app: &App) -> Check {
    let name = "room for disks";
    let rooms: Vec<_> = match app.db.vms().await {
        Ok(vms) => vms.iter().filter_map(|vm| app.host.disk_room(vm.id)).collect(),
        Err(error) => return warn(name, chain(&error), "see the daemon's log"),
    };
    let growth = ByteSize(rooms.iter().map(|room| room.growth.0).sum());
    let Some(free) = rooms.iter().map(|room| room.free).min() else {
        return pass(name, "there are no VMs whose disks could grow");
    };
    let detail = format!("{free} are free, and the disks of {} VMs may still grow by {growth}", rooms.len());
    match free < growth && free < COMFORTABLE {
        false => pass(name, detail),
        true => warn(
            name,
            format!("{detail}: guests' writes fail when that is used up"),
            "free some room there, for example with `banger vm delete` and `banger image delete`",
        ),
    }
}

/// Whether KVM is there, may be used and makes VMs. Whether guests run on it, only a guest can tell.
pub(super) fn kvm() -> Check {
    let name = "/dev/kvm";
    match banger_vmm::prove::look() {
        Ok(()) => pass(name, "this user may open it, and it makes VMs"),
        Err(unusable) => {
            let fix = unusable.fix().unwrap_or_else(|| "nothing: VMs run without it".into());
            warn(name, format!("{unusable}: without it VMs are emulated, which is slow"), fix)
        }
    }
}
