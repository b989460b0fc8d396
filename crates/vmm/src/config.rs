//! What one VMM process is made of, as plain data.
//!
//! Owns: [`VmmConfig`] and the checks that need no host. It names files and sockets but opens none; whoever fills it in
//! has made the disks, chosen the engine and started the network process.

use crate::binary::Binary;
use banger_model::spec::{Accel, DiskLimits, VmmKind};
use banger_model::{ByteSize, VmId};
use serde::{Deserialize, Serialize};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Longest path of a Unix socket in bytes: `sockaddr_un` holds 108 with the closing zero.
pub const MAX_SOCKET_PATH: usize = 107;

/// Which program runs the VM, and how guest instructions are executed. Firecracker cannot do without KVM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// Firecracker on KVM.
    Firecracker,
    /// QEMU's `microvm` machine on KVM.
    QemuKvm,
    /// QEMU's `microvm` machine under QEMU's own translator.
    QemuTcg,
}

impl Engine {
    /// The program.
    pub fn kind(self) -> VmmKind {
        match self {
            Self::Firecracker => VmmKind::Firecracker,
            Self::QemuKvm | Self::QemuTcg => VmmKind::Qemu,
        }
    }

    /// The one with that program and that way, if there is one.
    pub fn of(kind: VmmKind, accel: Accel) -> Option<Self> {
        match (kind, accel) {
            (VmmKind::Firecracker, Accel::Kvm) => Some(Self::Firecracker),
            (VmmKind::Firecracker, Accel::Tcg) => None,
            (VmmKind::Qemu, Accel::Kvm) => Some(Self::QemuKvm),
            (VmmKind::Qemu, Accel::Tcg) => Some(Self::QemuTcg),
        }
    }

    /// How instructions are executed.
    pub fn accel(self) -> Accel {
        match self {
            Self::Firecracker | Self::QemuKvm => Accel::Kvm,
            Self::QemuTcg => Accel::Tcg,
        }
    }
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Firecracker => "Firecracker",
            Self::QemuKvm => "QEMU with KVM",
            Self::QemuTcg => "QEMU without KVM",
        })
    }
}

/// Everything about one run of one VM's VMM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmmConfig {
    /// The VM. Its id is in the process's arguments, so that the process can be found by it.
    pub vm: VmId,
    /// What runs it.
    pub engine: Engine,
    /// The program's file; must be of the engine's kind.
    pub binary: Binary,
    /// Virtual CPUs, at least one.
    pub vcpu: u32,
    /// Guest memory in bytes, a whole number of MiB.
    pub memory: ByteSize,
    /// What boots.
    pub kernel: Kernel,
    /// Appended to the kernel's command line after our own arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernel_args: Vec<String>,
    /// Raw block devices, in order. The guest must tell them apart by their volume labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<Disk>,
    /// How fast each of them may be used.
    #[serde(default, skip_serializing_if = "DiskLimits::is_none")]
    pub disk_limits: DiskLimits,
    /// The one network interface, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net: Option<NetAttachment>,
    /// An existing folder of this VM's alone, reachable by its owner only, for the sockets. Must be short: see
    /// [`MAX_SOCKET_PATH`].
    pub runtime_dir: PathBuf,
    /// Where the guest's serial console of this boot goes. Truncated at launch.
    pub console_log: PathBuf,
    /// Where the VMM's own words go. Truncated at launch.
    pub vmm_log: PathBuf,
    /// Where Firecracker writes its counters: see [`crate::stats`]. Truncated at launch. QEMU is asked for them instead.
    pub metrics: PathBuf,
    /// Where the identity of the process is kept while it runs.
    pub record: PathBuf,
    /// The control group that it is put into before it runs, an existing folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<PathBuf>,
}

/// The files a guest boots from. At least one form of the kernel must be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// The compressed form (`vmlinuz`). QEMU takes it when there is no ELF.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bzimage: Option<PathBuf>,
    /// The ELF inside it (`vmlinux`). Firecracker needs it; QEMU boots it faster, if it has a PVH entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elf: Option<PathBuf>,
    /// The initramfs with the agent as `/init`.
    pub initramfs: PathBuf,
    /// The kernel's `CONFIG_HZ`, timer ticks a second.
    #[serde(default = "Kernel::default_hz")]
    pub hz: u32,
}

impl Kernel {
    /// What Debian and most distributions choose.
    pub const DEFAULT_HZ: u32 = 250;

    /// The form that this engine boots, if there is one. An ELF is larger to read but needs no unpacking in the guest, which
    /// costs a translator most of a second.
    pub fn for_engine(&self, engine: Engine) -> Option<&Path> {
        let bzimage = self.bzimage.as_ref().filter(|_| engine.kind() == VmmKind::Qemu);
        self.elf.as_ref().or(bzimage).map(PathBuf::as_path)
    }

    fn default_hz() -> u32 {
        Self::DEFAULT_HZ
    }
}

/// A raw disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// The file or block device.
    pub path: PathBuf,
    /// Shared with other VMs when it is read-only; never when it is not.
    pub read_only: bool,
}

/// A network interface and what stands at its other end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetAttachment {
    /// Where the process of a user-mode network connects, one after another: a Unix stream socket, on which each frame is
    /// preceded by its length as a big-endian `u32`.
    pub socket: PathBuf,
    /// The guest's hardware address.
    pub mac: MacAddr,
}

/// A hardware address of a network interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// The address of a VM's interface: locally administered, and 40 bits of the id's text hashed (FNV-1a).
    pub fn of(vm: VmId) -> Self {
        let hash = vm
            .as_str()
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        let [a, b, c, d, e, ..] = hash.to_be_bytes();
        Self([0x02, a, b, c, d, e])
    }
}

impl std::fmt::Display for MacAddr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A configuration that no VMM can run.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant's message says what it is")]
pub enum ConfigError {
    #[error(
        "the socket path {} has {} bytes and the system allows {MAX_SOCKET_PATH}: choose a shorter runtime folder",
        path.display(),
        path.as_os_str().len()
    )]
    SocketPath { path: PathBuf },
    #[error("a VM needs at least one vCPU")]
    NoVcpu,
    #[error("{engine} runs at most {max} vCPUs in one VM, and {asked} were asked for")]
    TooManyVcpus { engine: Engine, asked: u32, max: u32 },
    #[error("{0} of memory is not a whole number of MiB above zero")]
    Memory(ByteSize),
    #[error("{engine} needs the kernel as {form}, and there is none")]
    KernelForm { engine: Engine, form: &'static str },
    #[error("{engine} has no user-mode network: use --net none, or QEMU")]
    NoUserNet { engine: Engine },
    #[error("{} is not {}", binary.display(), engine.kind())]
    WrongBinary { engine: Engine, binary: PathBuf },
    #[error("{count} disks are more than the {max} that {engine} takes")]
    TooManyDisks { engine: Engine, count: usize, max: usize },
    #[error("{what} {value:?} holds a zero byte or a line break")]
    Unprintable { what: &'static str, value: String },
    #[error("{engine} takes no path that is not UTF-8: {}", path.display())]
    NotUtf8 { engine: Engine, path: PathBuf },
}

/// QEMU's `microvm` has 8 virtio slots, of which the agent's port, the entropy source, the balloon and the network take four.
const QEMU_MAX_DISKS: usize = 4;
/// Firecracker's interrupt lines would allow more; nobody needs them.
const FIRECRACKER_MAX_DISKS: usize = 8;

impl VmmConfig {
    /// The socket on which the agent is reached: QEMU's end of the virtio-serial port, or Firecracker's vsock.
    pub fn agent_socket(&self) -> PathBuf {
        agent_socket(&self.runtime_dir)
    }

    /// The socket on which the VMM takes orders: QMP, or Firecracker's API.
    pub fn control_socket(&self) -> PathBuf {
        control_socket(&self.runtime_dir)
    }

    /// Whether a VMM could run this, as far as the plain data tells.
    ///
    /// # Errors
    /// The first thing that rules it out.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let engine = self.engine;
        if self.binary.kind != engine.kind() {
            return Err(ConfigError::WrongBinary { engine, binary: self.binary.path.clone() });
        }
        let sockets =
            [Some(self.agent_socket()), Some(self.control_socket()), self.net.as_ref().map(|n| n.socket.clone())];
        for path in sockets.into_iter().flatten() {
            if path.as_os_str().len() > MAX_SOCKET_PATH {
                return Err(ConfigError::SocketPath { path });
            }
        }
        let (max_vcpu, max_disks) = match engine.kind() {
            VmmKind::Firecracker => (32, FIRECRACKER_MAX_DISKS),
            VmmKind::Qemu => (255, QEMU_MAX_DISKS),
        };
        match self.vcpu {
            0 => return Err(ConfigError::NoVcpu),
            asked if asked > max_vcpu => return Err(ConfigError::TooManyVcpus { engine, asked, max: max_vcpu }),
            _ => {}
        }
        if self.memory.0 == 0 || !self.memory.0.is_multiple_of(ByteSize::MIB) {
            return Err(ConfigError::Memory(self.memory));
        }
        if self.disks.len() > max_disks {
            return Err(ConfigError::TooManyDisks { engine, count: self.disks.len(), max: max_disks });
        }
        match (engine.kind(), &self.kernel.elf, &self.kernel.bzimage) {
            (VmmKind::Firecracker, None, _) => Err(ConfigError::KernelForm { engine, form: "an ELF vmlinux" }),
            (VmmKind::Qemu, None, None) => Err(ConfigError::KernelForm { engine, form: "a bzImage or an ELF vmlinux" }),
            _ => Ok(()),
        }?;
        if engine.kind() == VmmKind::Firecracker && self.net.is_some() {
            return Err(ConfigError::NoUserNet { engine });
        }
        if engine.kind() == VmmKind::Firecracker {
            let files =
                self.disks.iter().map(|disk| &disk.path).chain(&self.kernel.elf).chain([&self.kernel.initramfs]);
            for path in files.chain([&self.runtime_dir, &self.metrics]) {
                path.to_str().ok_or_else(|| ConfigError::NotUtf8 { engine, path: path.clone() })?;
            }
        }
        for argument in &self.kernel_args {
            printable("the kernel argument", argument.as_bytes())?;
        }
        for disk in &self.disks {
            printable("the disk", disk.path.as_os_str().as_bytes())?;
        }
        Ok(())
    }
}

/// What the VMMs call a disk: by its place among [`VmmConfig::disks`].
pub(crate) fn disk_id(index: usize) -> String {
    format!("disk{index}")
}

/// The file name of the control socket.
pub(crate) const CONTROL_SOCKET: &str = "vmm.sock";

/// [`VmmConfig::agent_socket`] of a runtime folder.
pub(crate) fn agent_socket(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("agent.sock")
}

/// [`VmmConfig::control_socket`] of a runtime folder.
pub(crate) fn control_socket(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join(CONTROL_SOCKET)
}

fn printable(what: &'static str, bytes: &[u8]) -> Result<(), ConfigError> {
    match bytes.iter().any(|b| matches!(b, 0 | b'\n' | b'\r')) {
        true => Err(ConfigError::Unprintable { what, value: String::from_utf8_lossy(bytes).into_owned() }),
        false => Ok(()),
    }
}

/// A configuration that passes [`VmmConfig::validate`].
#[cfg(test)]
pub(crate) fn example(engine: Engine) -> VmmConfig {
    let version = crate::binary::Version { major: 7, minor: 2, patch: 0 };
    VmmConfig {
        vm: VmId::from_entropy([1; 16]),
        engine,
        binary: Binary { kind: engine.kind(), path: "/bin/vmm".into(), version },
        vcpu: 1,
        memory: ByteSize::mib(512),
        kernel: Kernel {
            bzimage: Some("/k/vmlinuz".into()),
            elf: Some("/k/vmlinux".into()),
            initramfs: "/k/initramfs".into(),
            hz: Kernel::DEFAULT_HZ,
        },
        kernel_args: Vec::new(),
        disks: Vec::new(),
        disk_limits: DiskLimits::default(),
        net: None,
        runtime_dir: "/r".into(),
        console_log: "/s/console".into(),
        vmm_log: "/s/log".into(),
        metrics: "/s/metrics".into(),
        record: "/s/record".into(),
        cgroup: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(engine: Engine, change: impl FnOnce(&mut VmmConfig)) -> String {
        let mut config = example(engine);
        assert_eq!(config.validate(), Ok(()));
        change(&mut config);
        config.validate().expect_err("it should be refused").to_string()
    }

    #[test]
    fn what_cannot_run_is_refused_by_name() {
        use Engine::{Firecracker, QemuKvm, QemuTcg};
        let disk = |path: &str| Disk { path: path.into(), read_only: true };
        let net = || Some(NetAttachment { socket: "/r/net.sock".into(), mac: MacAddr([2; 6]) });
        for (refusal, expected) in [
            (refusal(Firecracker, |c| c.net = net()), "Firecracker has no user-mode network"),
            (refusal(Firecracker, |c| c.kernel.elf = None), "Firecracker needs the kernel as an ELF"),
            (refusal(QemuTcg, |c| (c.kernel.elf, c.kernel.bzimage) = (None, None)), "a bzImage or an ELF"),
            (refusal(QemuKvm, |c| c.binary.kind = VmmKind::Firecracker), "/bin/vmm is not qemu"),
            (refusal(QemuTcg, |c| c.vcpu = 0), "at least one vCPU"),
            (refusal(Firecracker, |c| c.vcpu = 33), "at most 32 vCPUs"),
            (refusal(QemuTcg, |c| c.memory = ByteSize(0)), "whole number of MiB"),
            (refusal(QemuTcg, |c| c.memory = ByteSize(ByteSize::MIB + 1)), "whole number of MiB"),
            (refusal(QemuTcg, |c| c.disks = vec![disk("/d"); 5]), "5 disks are more than the 4"),
            (refusal(QemuTcg, |c| c.disks = vec![disk("/d\n")]), "line break"),
            (refusal(QemuTcg, |c| c.kernel_args = vec!["a\0".into()]), "zero byte"),
            (refusal(QemuTcg, |c| c.runtime_dir = format!("/{}", "r".repeat(100)).into()), "shorter runtime folder"),
        ] {
            assert!(refusal.contains(expected), "{refusal}, not {expected}");
        }
    }

    #[test]
    fn firecracker_is_told_no_path_that_json_cannot_say() {
        use std::os::unix::ffi::OsStrExt;
        let odd = std::ffi::OsStr::from_bytes(b"/d/\xff");
        let refusal = refusal(Engine::Firecracker, |c| c.disks = vec![Disk { path: odd.into(), read_only: true }]);
        assert!(refusal.contains("UTF-8"), "{refusal}");
        let mut config = example(Engine::QemuTcg);
        config.disks = vec![Disk { path: odd.into(), read_only: true }];
        assert_eq!(config.validate(), Ok(()), "QEMU takes any bytes");
    }

    #[test]
    fn hardware_addresses_are_local_and_differ() {
        let macs: std::collections::BTreeSet<_> = (0..100u8)
            .map(|n| MacAddr::of(VmId::from_entropy([n; 16])).to_string())
            .inspect(|mac| assert!(mac.starts_with("02:") && mac.len() == 17, "{mac}"))
            .collect();
        assert_eq!(macs.len(), 100);
    }
}
