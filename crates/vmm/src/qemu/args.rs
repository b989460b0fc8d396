//! The command line of QEMU's `microvm` machine: pure.
//!
//! Every value that came from outside is either an argument of its own or inside JSON; the few options that know neither
//! get their commas doubled, as QEMU wants it.

use crate::config::{Disk, Engine, VmmConfig, disk_id};
use crate::kernel_line::kernel_line;
use crate::tsc::TscFacts;
use banger_model::spec::DiskLimits;
use banger_model::wire::guest::AGENT_PORT_NAME;
use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// The prefix of a VM's `-name`, by which its process is found again.
pub(crate) const NAME_PREFIX: &str = "banger-";

/// Through it the guest takes memory back before it would have to kill a process, gives back to the host what it does not
/// use, and tells how much it uses, as often as under Firecracker.
const BALLOON: &str =
    "virtio-balloon-device,id=balloon,deflate-on-oom=on,free-page-reporting=on,guest-stats-polling-interval=5";

/// QEMU's arguments for this VM. `clock` is told to the guest where QEMU translates; with KVM the guest has KVM's clock. `net` is
/// the number under which it inherits the socket at which the VM's network connects.
pub fn args(config: &VmmConfig, clock: TscFacts, net: Option<RawFd>) -> Vec<OsString> {
    let mut args = Args::default();
    args.flag("-no-user-config").flag("-nodefaults").flag("-no-reboot");
    args.pair("-name", format!("{NAME_PREFIX}{}", config.vm)).pair("-display", "none");
    // Nothing that a guest could talk QEMU into may start programs, gain rights or lift limits.
    args.pair("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    args.pair("-M", "microvm,pit=on,pic=on,rtc=on");
    match config.engine {
        // With these two, the kernel clears and copies memory byte by byte, which QEMU translates as it stands: a fifth of a boot.
        Engine::QemuTcg => args.pair("-accel", "tcg,thread=multi").pair("-cpu", "max,erms=off,fsrm=off"),
        Engine::QemuKvm | Engine::Firecracker => args.pair("-accel", "kvm").pair("-cpu", "host"),
    };
    args.pair("-smp", config.vcpu.to_string()).pair("-m", format!("{}M", config.memory.as_mib()));
    if let Some(kernel) = config.kernel.for_engine(config.engine) {
        args.pair("-kernel", kernel);
    }
    args.pair("-initrd", &config.kernel.initramfs).pair("-append", kernel_command_line(config, clock));

    args.pair("-chardev", option("file,id=console,append=on,path=", &config.console_log, ""));
    args.pair("-serial", "chardev:console");
    let listen = ",server=on,wait=off";
    args.pair("-chardev", option("socket,id=control,path=", &config.control_socket(), listen));
    args.pair("-mon", "chardev=control,mode=control");
    args.pair("-device", "virtio-serial-device,max_ports=2");
    args.pair("-chardev", option("socket,id=agent,path=", &config.agent_socket(), listen));
    args.pair("-device", format!("virtserialport,chardev=agent,name={AGENT_PORT_NAME}"));
    args.pair("-device", "virtio-rng-device");
    args.pair("-device", BALLOON);

    for (index, disk) in config.disks.iter().enumerate() {
        if let Some(limits) = throttle_group(index, config.disk_limits) {
            args.pair("-object", limits);
        }
        args.pair("-blockdev", block_device(index, disk, config.disk_limits));
        // A full disk of the host is an error in the guest; left to itself QEMU stops the guest, and nobody knows why.
        args.pair("-device", format!("virtio-blk-device,drive={},werror=report,rerror=report", disk_id(index)));
    }
    if let (Some(attachment), Some(net)) = (&config.net, net) {
        // It listens, so that another process can take the place of one that died: QEMU 7.2 cannot connect a second time.
        args.pair("-netdev", format!("stream,id=net,server=on,addr.type=fd,addr.str={net}"));
        args.pair("-device", format!("virtio-net-device,netdev=net,mac={}", attachment.mac));
    }
    args.0
}

/// `reboot=t`: with `-no-reboot`, a triple fault ends QEMU wherever the guest is, also in a panic.
fn kernel_command_line(config: &VmmConfig, clock: TscFacts) -> String {
    if config.engine != Engine::QemuTcg {
        return kernel_line("reboot=t", config);
    }
    // What guards against processor flaws has nothing to guard in a translator, and costs a third of the speed. Programs that
    // lie elsewhere at each start are translated anew at each start, which takes four times as long as the start itself. The
    // counter is the host's and as good; the kernel's watchdog over it would believe a timer that a busy host delays.
    let (khz, lpj) = (clock.khz, clock.lpj(config.kernel.hz));
    let translated = format!("reboot=t mitigations=off nokaslr norandmaps tsc=reliable tsc_early_khz={khz} lpj={lpj}");
    kernel_line(&translated, config)
}

/// How fast a disk may be used. Each has a group of its own, as Firecracker's have.
fn throttle_group(index: usize, limits: DiskLimits) -> Option<String> {
    let bandwidth = limits.bandwidth.map(|bytes| format!(",x-bps-total={}", bytes.0));
    let iops = limits.iops.map(|iops| format!(",x-iops-total={iops}"));
    let all: String = bandwidth.into_iter().chain(iops).collect();
    (!all.is_empty()).then(|| format!("throttle-group,id=limit{index}{all}"))
}

/// A raw file through the host's page cache, so that VMs share what they read. QEMU's own locks let any number of VMs
/// open a file read-only and refuse a second writer. Blocks that the guest trims are given back to the host.
fn block_device(index: usize, disk: &Disk, limits: DiskLimits) -> OsString {
    let (id, read_only) = (disk_id(index), disk.read_only);
    let common = format!("\"read-only\":{read_only},\"discard\":\"unmap\"");
    // Each layer of drivers has the next as its `file`.
    let throttle = match limits.is_none() {
        true => String::new(),
        false => format!("\"driver\":\"throttle\",\"throttle-group\":\"limit{index}\",{common},\"file\":{{"),
    };
    let mut json = format!("{{\"node-name\":\"{id}\",{throttle}\"driver\":\"raw\",{common},").into_bytes();
    json.extend(format!("\"file\":{{\"driver\":\"file\",{common},\"filename\":\"").bytes());
    for byte in disk.path.as_os_str().as_bytes() {
        match byte {
            b'"' | b'\\' => json.extend([b'\\', *byte]),
            0..0x20 => json.extend(format!("\\u{byte:04x}").bytes()),
            _ => json.push(*byte),
        }
    }
    json.extend(b"\"}}");
    json.extend((!limits.is_none()).then_some(b'}'));
    OsString::from_vec(json)
}

/// `before`, the path with its commas doubled, `after`.
fn option(before: &str, path: &Path, after: &str) -> OsString {
    let mut bytes = before.as_bytes().to_vec();
    for byte in path.as_os_str().as_bytes() {
        bytes.push(*byte);
        if *byte == b',' {
            bytes.push(b',');
        }
    }
    bytes.extend(after.as_bytes());
    OsString::from_vec(bytes)
}

#[derive(Default)]
struct Args(Vec<OsString>);

impl Args {
    fn flag(&mut self, flag: &str) -> &mut Self {
        self.0.push(flag.into());
        self
    }

    fn pair(&mut self, flag: &str, value: impl AsRef<OsStr>) -> &mut Self {
        self.0.push(flag.into());
        self.0.push(value.as_ref().into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{MacAddr, NetAttachment, example};
    use banger_model::ByteSize;

    const CLOCK: TscFacts = TscFacts { khz: 2_596_148 };

    fn line(config: &VmmConfig) -> String {
        let args = args(config, CLOCK, Some(9)).into_iter().map(|arg| arg.into_string().unwrap());
        // One option with its value on each line.
        args.collect::<Vec<_>>().join(" ").replace(" -", "\n-")
    }

    #[test]
    fn under_the_translator() {
        let mut config = example(Engine::QemuTcg);
        config.kernel_args = vec!["act=wait".into()];
        config.disks =
            vec![Disk { path: "/d/a,b\\\"".into(), read_only: true }, Disk { path: "/d/w".into(), read_only: false }];
        config.net = Some(NetAttachment { socket: "/r/n,1.sock".into(), mac: MacAddr([2, 0, 0, 0, 0, 0xab]) });
        insta::assert_snapshot!(line(&config), @r##"
            -no-user-config
            -nodefaults
            -no-reboot
            -name banger-1802g0401802
            -display none
            -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
            -M microvm,pit=on,pic=on,rtc=on
            -accel tcg,thread=multi
            -cpu max,erms=off,fsrm=off
            -smp 1
            -m 512M
            -kernel /k/vmlinux
            -initrd /k/initramfs
            -append console=ttyS0 panic=-1 quiet 8250.nr_uarts=1 raid=noautodetect no_timer_check cryptomgr.notests random.trust_cpu=on reboot=t mitigations=off nokaslr norandmaps tsc=reliable tsc_early_khz=2596148 lpj=10384592 act=wait
            -chardev file,id=console,append=on,path=/s/console
            -serial chardev:console
            -chardev socket,id=control,path=/r/vmm.sock,server=on,wait=off
            -mon chardev=control,mode=control
            -device virtio-serial-device,max_ports=2
            -chardev socket,id=agent,path=/r/agent.sock,server=on,wait=off
            -device virtserialport,chardev=agent,name=banger.agent
            -device virtio-rng-device
            -device virtio-balloon-device,id=balloon,deflate-on-oom=on,free-page-reporting=on,guest-stats-polling-interval=5
            -blockdev {"node-name":"disk0","driver":"raw","read-only":true,"discard":"unmap","file":{"driver":"file","read-only":true,"discard":"unmap","filename":"/d/a,b\\\""}}
            -device virtio-blk-device,drive=disk0,werror=report,rerror=report
            -blockdev {"node-name":"disk1","driver":"raw","read-only":false,"discard":"unmap","file":{"driver":"file","read-only":false,"discard":"unmap","filename":"/d/w"}}
            -device virtio-blk-device,drive=disk1,werror=report,rerror=report
            -netdev stream,id=net,server=on,addr.type=fd,addr.str=9
            -device virtio-net-device,netdev=net,mac=02:00:00:00:00:ab
        "##);
    }

    #[test]
    fn a_disk_with_limits_is_behind_a_throttle() {
        let mut config = example(Engine::QemuTcg);
        config.disks = vec![Disk { path: "/d/w".into(), read_only: false }];
        config.disk_limits = DiskLimits { bandwidth: Some(ByteSize::mib(50)), iops: Some(500) };
        let line = line(&config);
        let disks: Vec<_> = line.lines().filter(|line| line.contains("disk0") || line.contains("limit0")).collect();
        insta::assert_snapshot!(disks.join("\n"), @r##"
            -object throttle-group,id=limit0,x-bps-total=52428800,x-iops-total=500
            -blockdev {"node-name":"disk0","driver":"throttle","throttle-group":"limit0","read-only":false,"discard":"unmap","file":{"driver":"raw","read-only":false,"discard":"unmap","file":{"driver":"file","read-only":false,"discard":"unmap","filename":"/d/w"}}}
            -device virtio-blk-device,drive=disk0,werror=report,rerror=report
        "##);
    }

    #[test]
    fn on_kvm_the_guest_has_kvms_clock_and_its_guards() {
        let line = line(&example(Engine::QemuKvm));
        assert!(line.contains("\n-accel kvm\n-cpu host\n"), "{line}");
        for translated in ["tcg", "mitigations", "nokaslr", "norandmaps", "erms", "tsc", "lpj"] {
            assert!(!line.contains(translated), "{translated} in {line}");
        }
    }

    #[test]
    fn an_elf_is_taken_before_a_bzimage() {
        let mut config = example(Engine::QemuTcg);
        assert!(line(&config).contains("\n-kernel /k/vmlinux\n"));
        config.kernel.elf = None;
        assert!(line(&config).contains("\n-kernel /k/vmlinuz\n"));
    }
}
