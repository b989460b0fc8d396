//! What Firecracker 1.12 to 1.16 is told, in order: pure. Nothing is sent that any of these versions lacks.

use super::resource::{
    Action, Balloon, BootSource, CacheType, Drive, EntropyDevice, MachineConfiguration, Metrics, Put, RateLimiter,
    TokenBucket, Vsock,
};
use crate::config::{Disk, VmmConfig, disk_id};
use crate::kernel_line::kernel_line;
use banger_model::spec::DiskLimits;
use std::ffi::OsString;

/// The guest's end of its vsock; two is the host's, and lower ones are not for guests.
const GUEST_CID: u32 = 3;
/// Its own words but for errors and warnings are of no use to us.
const LOG_LEVEL: &str = "Warning";
/// How old what a guest last said of its memory may be. More often would wake idle guests for nothing.
const BALLOON_STATS_S: u16 = 5;

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
/// [`VmmConfig::validate`]; so is a kernel without an ELF.
pub fn requests(config: &VmmConfig) -> Vec<Put> {
    let mut requests = vec![
        Put::Metrics(Metrics { metrics_path: config.metrics.clone() }),
        Put::MachineConfig(MachineConfiguration { vcpu_count: config.vcpu, mem_size_mib: config.memory.as_mib() }),
        Put::BootSource(BootSource {
            kernel_image_path: config.kernel.elf.clone().unwrap_or_default(),
            initrd_path: Some(config.kernel.initramfs.clone()),
            boot_args: Some(kernel_line(KERNEL, config)),
        }),
    ];
    requests.extend(config.disks.iter().enumerate().map(|(index, disk)| drive(index, disk, config.disk_limits)));
    requests.extend([
        Put::Vsock(Vsock { guest_cid: GUEST_CID, uds_path: config.agent_socket() }),
        Put::Entropy(EntropyDevice::default()),
        Put::Balloon(Balloon { amount_mib: 0, deflate_on_oom: true, stats_polling_interval_s: Some(BALLOON_STATS_S) }),
        Put::Action(Action::InstanceStart),
    ]);
    requests
}

fn drive(index: usize, disk: &Disk, limits: DiskLimits) -> Put {
    Put::Drive(Drive {
        drive_id: disk_id(index),
        path_on_host: disk.path.clone(),
        is_root_device: false,
        is_read_only: disk.read_only,
        // Without it a flush of the guest's would be answered and not done.
        cache_type: Some(CacheType::Writeback),
        rate_limiter: rate_limiter(limits),
    })
}

fn rate_limiter(limits: DiskLimits) -> Option<RateLimiter> {
    let bandwidth = limits.bandwidth.and_then(|bytes| TokenBucket::per_second(bytes.0));
    let ops = limits.iops.and_then(|ops| TokenBucket::per_second(ops.into()));
    (bandwidth.is_some() || ops.is_some()).then_some(RateLimiter { bandwidth, ops })
}

/// `reboot=k`: the keyboard controller's reset is how a guest ends Firecracker, also in a panic. There is no PCI, and
/// nothing else behind that controller, so none is looked for.
const KERNEL: &str = "reboot=k pci=off i8042.noaux i8042.nomux i8042.dumbkbd";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Engine;
    use crate::config::example;
    use banger_model::ByteSize;

    #[test]
    fn disks_without_limits_have_no_limiter_and_one_limit_leaves_the_other_open() {
        assert_eq!(rate_limiter(DiskLimits::default()), None);
        let limiter = rate_limiter(DiskLimits { bandwidth: None, iops: Some(9) }).unwrap();
        assert_eq!((limiter.bandwidth, limiter.ops.unwrap().size), (None, 9));
    }

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
        config.disk_limits = DiskLimits { bandwidth: Some(ByteSize::mib(50)), iops: Some(500) };
        let said: Vec<_> = requests(&config)
            .into_iter()
            .map(|put| format!("{} {}", put.path(), serde_json::to_string(&put).unwrap()))
            .collect();
        insta::assert_snapshot!(said.join("\n"), @r##"
            /metrics {"metrics_path":"/s/metrics"}
            /machine-config {"vcpu_count":2,"mem_size_mib":512}
            /boot-source {"kernel_image_path":"/k/vmlinux","initrd_path":"/k/initramfs","boot_args":"console=ttyS0 panic=-1 quiet 8250.nr_uarts=1 raid=noautodetect no_timer_check cryptomgr.notests random.trust_cpu=on reboot=k pci=off i8042.noaux i8042.nomux i8042.dumbkbd act=wait"}
            /drives/disk0 {"drive_id":"disk0","path_on_host":"/d/image","is_root_device":false,"is_read_only":true,"cache_type":"Writeback","rate_limiter":{"bandwidth":{"size":52428800,"refill_time":1000},"ops":{"size":500,"refill_time":1000}}}
            /drives/disk1 {"drive_id":"disk1","path_on_host":"/d/\"work\"","is_root_device":false,"is_read_only":false,"cache_type":"Writeback","rate_limiter":{"bandwidth":{"size":52428800,"refill_time":1000},"ops":{"size":500,"refill_time":1000}}}
            /vsock {"guest_cid":3,"uds_path":"/r/agent.sock"}
            /entropy {}
            /balloon {"amount_mib":0,"deflate_on_oom":true,"stats_polling_interval_s":5}
            /actions {"action_type":"InstanceStart"}
        "##);
        let args: Vec<_> = args(&config).into_iter().map(|arg| arg.into_string().unwrap()).collect();
        insta::assert_snapshot!(args.join(" "), @r##"
            --id 1802g0401802 --api-sock /r/vmm.sock --log-path /s/log --level Warning
        "##);
    }
}
