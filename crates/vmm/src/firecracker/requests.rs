//! What Firecracker 1.12 to 1.16 is told, in order: pure.
//!
//! Field names and paths are those of its `firecracker.yaml`. Nothing is sent that any of these versions lacks.

use crate::config::VmmConfig;
use crate::kernel_line::kernel_line;
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
                "boot_args": kernel_line(KERNEL, config),
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

/// `reboot=k`: the keyboard controller's reset is how a guest ends Firecracker, also in a panic. There is no PCI, and
/// nothing else behind that controller, so none is looked for.
const KERNEL: &str = "reboot=k pci=off i8042.noaux i8042.nomux i8042.dumbkbd";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::example;
    use crate::config::{Disk, Engine};

    /// What the real 1.12.1 accepts: see the tests that drive it.
    #[test]
    fn all_that_it_is_told() {
        let mut config = example(Engine::Firecracker);
        config.vcpu = 2;
        config.kernel_args = vec!["act=wait".into()];
        config.disks = vec![
            Disk { path: "/d/image".into(), read_only: true },
            Disk { path: "/d/\"work\"".into(), read_only: false },
        ];
        let said: Vec<_> = requests(&config).into_iter().map(|r| format!("{} {}", r.path, r.body)).collect();
        insta::assert_snapshot!(said.join("\n"), @r##"
            /machine-config {"mem_size_mib":512,"vcpu_count":2}
            /boot-source {"boot_args":"console=ttyS0 panic=-1 quiet 8250.nr_uarts=1 raid=noautodetect no_timer_check cryptomgr.notests random.trust_cpu=on reboot=k pci=off i8042.noaux i8042.nomux i8042.dumbkbd act=wait","initrd_path":"/k/initramfs","kernel_image_path":"/k/vmlinux"}
            /drives/disk0 {"cache_type":"Writeback","drive_id":"disk0","is_read_only":true,"is_root_device":false,"path_on_host":"/d/image"}
            /drives/disk1 {"cache_type":"Writeback","drive_id":"disk1","is_read_only":false,"is_root_device":false,"path_on_host":"/d/\"work\""}
            /vsock {"guest_cid":3,"uds_path":"/r/agent.sock"}
            /entropy {}
            /actions {"action_type":"InstanceStart"}
        "##);
        let args: Vec<_> = args(&config).into_iter().map(|arg| arg.into_string().unwrap()).collect();
        insta::assert_snapshot!(args.join(" "), @r##"
            --id 1802g0401802 --api-sock /r/vmm.sock --log-path /s/log --level Warning
        "##);
    }
}
