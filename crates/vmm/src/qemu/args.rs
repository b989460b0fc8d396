//! The command line of QEMU's `microvm` machine: pure.
//!
//! Every value that came from outside is either an argument of its own or inside JSON; the few options that know neither
//! get their commas doubled, as QEMU wants it.

use crate::config::{Engine, VmmConfig};
use crate::tsc::TscFacts;
use banger_model::wire::guest::AGENT_PORT_NAME;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// The prefix of a VM's `-name`, by which its process is found again.
pub(crate) const NAME_PREFIX: &str = "banger-";

/// QEMU's arguments for this VM. `clock` is told to the guest where QEMU translates; with KVM the guest has KVM's clock.
pub fn args(config: &VmmConfig, clock: TscFacts) -> Vec<OsString> {
    let mut args = Args::default();
    args.flag("-no-user-config").flag("-nodefaults").flag("-no-reboot");
    args.pair("-name", format!("{NAME_PREFIX}{}", config.vm)).pair("-display", "none");
    // Nothing that a guest could talk QEMU into may start programs, gain rights or lift limits.
    args.pair("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    args.pair("-M", "microvm,pit=on,pic=on,rtc=on");
    match config.engine {
        Engine::QemuTcg => args.pair("-accel", "tcg,thread=multi").pair("-cpu", "max"),
        Engine::QemuKvm | Engine::Firecracker => args.pair("-accel", "kvm").pair("-cpu", "host"),
    };
    args.pair("-smp", config.vcpu.to_string()).pair("-m", format!("{}M", config.memory.as_mib()));
    if let Some(kernel) = config.kernel.for_engine(config.engine) {
        args.pair("-kernel", kernel);
    }
    args.pair("-initrd", &config.kernel.initramfs).pair("-append", kernel_command_line(config, clock));

    args.pair("-chardev", option("file,id=console,path=", &config.console_log, ""));
    args.pair("-serial", "chardev:console");
    let listen = ",server=on,wait=off";
    args.pair("-chardev", option("socket,id=control,path=", &config.control_socket(), listen));
    args.pair("-mon", "chardev=control,mode=control");
    args.pair("-device", "virtio-serial-device,max_ports=2");
    args.pair("-chardev", option("socket,id=agent,path=", &config.agent_socket(), listen));
    args.pair("-device", format!("virtserialport,chardev=agent,name={AGENT_PORT_NAME}"));
    args.pair("-device", "virtio-rng-device");

    for (index, disk) in config.disks.iter().enumerate() {
        args.pair("-blockdev", block_device(index, &disk.path, disk.read_only));
        args.pair("-device", format!("virtio-blk-device,drive=disk{index}"));
    }
    if let Some(net) = &config.net {
        args.pair("-netdev", option("stream,id=net,server=off,addr.type=unix,addr.path=", &net.socket, ""));
        args.pair("-device", format!("virtio-net-device,netdev=net,mac={}", net.mac));
    }
    args.0
}

/// What the kernel is told. `reboot=t`: with `-no-reboot`, a triple fault ends QEMU wherever the guest is, also in a panic.
fn kernel_command_line(config: &VmmConfig, clock: TscFacts) -> String {
    let mut line = String::from("console=ttyS0 reboot=t panic=-1 quiet");
    if config.engine == Engine::QemuTcg {
        let lpj = clock.lpj(config.kernel.hz);
        // What guards against processor flaws has nothing to guard in a translator, and costs a third of the speed.
        line.push_str(&format!(" mitigations=off nokaslr tsc_early_khz={} lpj={lpj}", clock.khz));
    }
    for argument in &config.kernel_args {
        line.push(' ');
        line.push_str(argument);
    }
    line
}

/// A raw file through the host's page cache, so that VMs share what they read. QEMU's own locks let any number of VMs
/// open a file read-only and refuse a second writer. Blocks that the guest trims are given back to the host.
fn block_device(index: usize, path: &Path, read_only: bool) -> OsString {
    let mut json = format!(
        "{{\"driver\":\"raw\",\"node-name\":\"disk{index}\",\"read-only\":{read_only},\"discard\":\"unmap\",\
         \"file\":{{\"driver\":\"file\",\"read-only\":{read_only},\"discard\":\"unmap\",\"filename\":\""
    )
    .into_bytes();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'"' | b'\\' => json.extend([b'\\', *byte]),
            0..0x20 => json.extend(format!("\\u{byte:04x}").bytes()),
            _ => json.push(*byte),
        }
    }
    json.extend(b"\"}}");
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
