//! What Firecracker 1.12 to 1.16 is told, in order: pure.
//!
//! Field names and paths are those of its `firecracker.yaml`. Nothing is sent that any of these versions lacks.

use crate::config::VmmConfig;
use serde_json::{Value, json};
use std::ffi::OsString;

/// One `PUT` to its API.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Where to.
    pub path: String,
    /// What.
    pub body: Value,
}

/// The guest's end of its vsock; two is the host's, and lower ones are not for guests.
const GUEST_CID: u32 = 3;
/// Its own words but for errors and warnings are of no use to us.
const LOG_LEVEL: &str = "Warning";

/// Firecracker's arguments for this VM. Everything else is said over its API, so that what it refuses has a reason.
pub fn args(config: &VmmConfig) -> Vec<OsString> {
    vec![
        "--id".into(),
        config.vm.as_str().into(),
        "--api-sock".into(),
        config.control_socket().into(),
        "--log-path".into(),
        config.vmm_log.clone().into(),
        "--level".into(),
        LOG_LEVEL.into(),
    ]
}

/// What makes and starts this VM. A path that is not UTF-8 cannot be said in JSON and is refused by
/// [`VmmConfig::validate`].
pub fn requests(config: &VmmConfig) -> Vec<Request> {
    let put = |path: &str, body| Request { path: path.into(), body };
    let mut requests = vec![
        put("/machine-config", json!({ "vcpu_count": config.vcpu, "mem_size_mib": config.memory.as_mib() })),
        put(
            "/boot-source",
            json!({
                "kernel_image_path": config.kernel.elf,
                "initrd_path": config.kernel.initramfs,
                "boot_args": kernel_command_line(config),
            }),
        ),
    ];
    for (index, disk) in config.disks.iter().enumerate() {
        let id = format!("disk{index}");
        let body = json!({
            "drive_id": id,
            "path_on_host": disk.path,
            "is_root_device": false,
            "is_read_only": disk.read_only,
            // Without it a flush of the guest's would be answered and not done.
            "cache_type": "Writeback",
        });
        requests.push(put(&format!("/drives/{id}"), body));
    }
    requests.push(put("/vsock", json!({ "guest_cid": GUEST_CID, "uds_path": config.agent_socket() })));
    requests.push(put("/entropy", json!({})));
    requests.push(put("/actions", json!({ "action_type": "InstanceStart" })));
    requests
}

/// What the kernel is told. `reboot=k`: the keyboard controller's reset is how a guest ends Firecracker, also in a panic.
/// There is no PCI, one serial port and nothing behind the keyboard controller, so none is looked for.
fn kernel_command_line(config: &VmmConfig) -> String {
    let own = "console=ttyS0 reboot=k panic=-1 quiet pci=off 8250.nr_uarts=1 i8042.noaux i8042.nomux i8042.dumbkbd";
    std::iter::once(own).chain(config.kernel_args.iter().map(String::as_str)).collect::<Vec<_>>().join(" ")
}
