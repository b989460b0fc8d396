//! Defaults: flag, then configuration file, then host, then built in.
//!
//! The file is read anew for every request that needs it, so a change holds from the next command on.

use crate::{host::NoUserNet, host_facts::HostFacts, verbs::VerbError, verbs::create::Wanted};
use banger_model::{
    ByteSize, ImageRef, KernelRef,
    api::vm::CreateVm,
    spec::{DiskLimits, NetMode, VmmChoice},
};
use serde::Deserialize;
use std::path::{Path, PathBuf};

const DEFAULT_IMAGE: &str = "debian-bookworm";
const DEFAULT_KERNEL: &str = "debian";
const DEFAULT_DISK: ByteSize = ByteSize::gib(8);
/// Less than this and Debian's kernel with an initramfs does not boot.
const LEAST_MEMORY: ByteSize = ByteSize::mib(128);
/// An ext4 with a journal and the image's `/root` wants some room.
const LEAST_DISK: ByteSize = ByteSize::mib(64);
/// Sparse or not, beyond this a typing mistake is likelier than a wish.
const MOST_DISK: ByteSize = ByteSize::gib(16 * 1024);
/// What the VMMs can present.
const MOST_VCPU: u32 = 32;

/// Less than this a second and a guest takes minutes to read what it boots.
const LEAST_BANDWIDTH: ByteSize = ByteSize::mib(1);
/// The same in operations.
const LEAST_IOPS: u32 = 10;

/// Where the configuration is.
#[derive(Debug, Clone)]
pub(crate) struct ConfigFile(PathBuf);

/// What the user configured. Unknown keys are refused: they are misspelt.
#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    #[serde(default)]
    pub(crate) vm: VmDefaults,
    #[serde(default)]
    pub(crate) limits: Limits,
    #[serde(default)]
    pub(crate) registries: Registries,
    #[serde(default)]
    pub(crate) programs: Programs,
}

/// `[vm]`: what `vm run` and `vm create` take when no flag says otherwise.
#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct VmDefaults {
    pub(crate) image: Option<ImageRef>,
    pub(crate) kernel: Option<KernelRef>,
    pub(crate) vcpu: Option<u32>,
    #[serde(default, deserialize_with = "size")]
    pub(crate) memory: Option<ByteSize>,
    #[serde(default, deserialize_with = "size")]
    pub(crate) disk_size: Option<ByteSize>,
    pub(crate) vmm: Option<VmmChoice>,
    pub(crate) net: Option<NetMode>,
    /// How long a guest may take until its agent answers, in seconds.
    pub(crate) boot_timeout: Option<u32>,
}

/// `[limits]`: how fast each disk of a VM may be used, when no flag says otherwise. Not limited when left out.
#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Limits {
    /// Bytes a second.
    #[serde(default, deserialize_with = "size")]
    pub(crate) disk_bandwidth: Option<ByteSize>,
    /// Operations a second.
    pub(crate) disk_iops: Option<u32>,
}

/// `[registries]`.
#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Registries {
    /// `HOST[:PORT]`s that are spoken to in plain HTTP although they are not on loopback.
    #[serde(default)]
    pub(crate) insecure: Vec<String>,
}

/// `[programs]`: absolute paths of programs that are not to be looked up in `PATH`.
#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Programs {
    pub(crate) qemu: Option<PathBuf>,
    pub(crate) firecracker: Option<PathBuf>,
    pub(crate) passt: Option<PathBuf>,
}

/// The configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read the configuration {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the configuration {} is not usable", path.display())]
    Parse { path: PathBuf, source: Box<toml::de::Error> },
}

fn size<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<ByteSize>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

impl ConfigFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// What is configured now; nothing when there is no file.
    pub(crate) fn load(&self) -> Result<Config, ConfigError> {
        match std::fs::read_to_string(&self.0) {
            Ok(text) => toml::from_str(&text)
                .map_err(|source| ConfigError::Parse { path: self.0.clone(), source: source.into() }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Config::default()),
            Err(source) => Err(ConfigError::Read { path: self.0.clone(), source }),
        }
    }
}

impl Config {
    /// Fills in what a request left out, and checks the whole.
    ///
    /// `user_net` is whether this host has user-mode networks.
    pub(crate) fn resolve(
        &self,
        request: &CreateVm,
        host: &HostFacts,
        user_net: Result<(), NoUserNet>,
    ) -> Result<Wanted, VerbError> {
        let defaults = &self.vm;
        let vmm = request.vmm.or(defaults.vmm).unwrap_or_default();
        let net = request.net.or(defaults.net);
        if vmm == VmmChoice::Firecracker && net == Some(NetMode::User) {
            return Err(VerbError::Value {
                what: "network for Firecracker",
                value: "user".into(),
                reason: "Firecracker has no network without root yet; use --net none, or --vmm qemu".into(),
            });
        }
        if net == Some(NetMode::User) {
            user_net.clone()?;
        }
        let wanted = Wanted {
            image: pick(&request.image, &defaults.image).map_or_else(|| built_in(DEFAULT_IMAGE), Ok)?,
            kernel: pick(&request.kernel, &defaults.kernel).map_or_else(|| built_in(DEFAULT_KERNEL), Ok)?,
            vcpu: request.vcpu.or(defaults.vcpu).unwrap_or_else(|| host.default_vcpu()),
            memory: request.memory.or(defaults.memory).unwrap_or_else(|| host.default_memory()),
            disk: request.disk.or(defaults.disk_size).unwrap_or(DEFAULT_DISK),
            vmm,
            net: net.unwrap_or(match user_net.is_ok() && vmm != VmmChoice::Firecracker {
                true => NetMode::User,
                false => NetMode::None,
            }),
            limits: DiskLimits {
                bandwidth: request.limits.bandwidth.or(self.limits.disk_bandwidth),
                iops: request.limits.iops.or(self.limits.disk_iops),
            },
        };
        check(&wanted, host)?;
        Ok(wanted)
    }
}

fn pick<T: Clone>(asked: &Option<T>, configured: &Option<T>) -> Option<T> {
    asked.as_ref().or(configured.as_ref()).cloned()
}

fn built_in<T: std::str::FromStr>(name: &'static str) -> Result<T, VerbError>
where
    T::Err: std::fmt::Display,
{
    name.parse().map_err(|error: T::Err| VerbError::Value {
        what: "built-in default",
        value: name.into(),
        reason: error.to_string(),
    })
}

fn check(wanted: &Wanted, host: &HostFacts) -> Result<(), VerbError> {
    let refuse = |what, value: String, reason: String| Err(VerbError::Value { what, value, reason });
    if !(1..=MOST_VCPU).contains(&wanted.vcpu) {
        return refuse("number of vCPUs", wanted.vcpu.to_string(), format!("choose 1 to {MOST_VCPU}"));
    }
    if wanted.memory < LEAST_MEMORY {
        return refuse("amount of memory", wanted.memory.to_string(), format!("a guest needs at least {LEAST_MEMORY}"));
    }
    if !wanted.memory.0.is_multiple_of(ByteSize::MIB) {
        let bytes = format!("{} bytes", wanted.memory.0);
        return refuse("amount of memory", bytes, "it must be a whole number of MiB".into());
    }
    if wanted.memory > host.memory_total {
        let reason = format!("this host has {}", host.memory_total);
        return refuse("amount of memory", wanted.memory.to_string(), reason);
    }
    if !(LEAST_DISK..=MOST_DISK).contains(&wanted.disk) {
        let reason = format!("choose {LEAST_DISK} to {MOST_DISK}");
        return refuse("disk size", wanted.disk.to_string(), reason);
    }
    if !wanted.disk.0.is_multiple_of(4096) {
        let bytes = format!("{} bytes", wanted.disk.0);
        return refuse("disk size", bytes, "it must be a multiple of 4096 bytes".into());
    }
    if let Some(bandwidth) = wanted.limits.bandwidth.filter(|bandwidth| *bandwidth < LEAST_BANDWIDTH) {
        let value = format!("{bandwidth} a second");
        return refuse("disk bandwidth", value, format!("the least is {LEAST_BANDWIDTH} a second"));
    }
    if let Some(iops) = wanted.limits.iops.filter(|iops| *iops < LEAST_IOPS) {
        let reason = format!("the least is {LEAST_IOPS} a second");
        return refuse("number of disk operations", format!("{iops} a second"), reason);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> HostFacts {
        HostFacts { cpus: 16, memory_total: ByteSize::gib(32) }
    }

    fn config(text: &str) -> Config {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn flag_beats_file_beats_host_beats_built_in() {
        let file = config("[vm]\nvcpu = 3\nmemory = \"1GiB\"\n");
        let request = CreateVm { memory: Some(ByteSize::mib(256)), ..CreateVm::default() };
        let got = file.resolve(&request, &host(), Ok(())).unwrap();
        assert_eq!((got.vcpu, got.memory, got.disk), (3, ByteSize::mib(256), DEFAULT_DISK));
        let file = config("[limits]\ndisk-bandwidth = \"50MiB\"\ndisk-iops = 500\n");
        let limits = DiskLimits { bandwidth: None, iops: Some(70) };
        let got = file.resolve(&CreateVm { limits, ..CreateVm::default() }, &host(), Ok(())).unwrap();
        assert_eq!(got.limits, DiskLimits { bandwidth: Some(ByteSize::mib(50)), iops: Some(70) });
        let got = Config::default().resolve(&CreateVm::default(), &host(), Ok(())).unwrap();
        assert!(got.limits.is_none());
        assert_eq!((got.vcpu, got.memory), (4, ByteSize::gib(4)));
        assert_eq!(got.image.to_string(), DEFAULT_IMAGE);
    }

    #[test]
    fn user_mode_network_only_where_it_can_be_had() {
        let missing = || Err(NoUserNet::Passt);
        let any = CreateVm::default();
        assert_eq!(Config::default().resolve(&any, &host(), Ok(())).unwrap().net, NetMode::User);
        assert_eq!(Config::default().resolve(&any, &host(), missing()).unwrap().net, NetMode::None);
        let asked = CreateVm { net: Some(NetMode::User), ..any };
        assert!(matches!(Config::default().resolve(&asked, &host(), missing()), Err(VerbError::NoUserNet(_))));
        let firecracker = CreateVm { vmm: Some(VmmChoice::Firecracker), ..CreateVm::default() };
        assert_eq!(Config::default().resolve(&firecracker, &host(), Ok(())).unwrap().net, NetMode::None);
        let both = CreateVm { net: Some(NetMode::User), ..firecracker };
        assert!(Config::default().resolve(&both, &host(), Ok(())).is_err());
    }

    #[test]
    fn values_out_of_bounds_name_the_bound() {
        let none = CreateVm::default;
        for (request, words) in [
            (CreateVm { memory: Some(ByteSize(0)), ..none() }, "at least 128 MiB"),
            (CreateVm { memory: Some(ByteSize(ByteSize::GIB + 1)), ..none() }, "whole number of MiB"),
            (CreateVm { memory: Some(ByteSize::gib(64)), ..none() }, "this host has 32 GiB"),
            (CreateVm { vcpu: Some(0), ..none() }, "1 to 32"),
            (CreateVm { disk: Some(ByteSize(1)), ..none() }, "64 MiB"),
            (CreateVm { limits: DiskLimits { bandwidth: Some(ByteSize(0)), iops: None }, ..none() }, "1 MiB a second"),
            (CreateVm { limits: DiskLimits { bandwidth: None, iops: Some(0) }, ..none() }, "10 a second"),
        ] {
            let error = Config::default().resolve(&request, &host(), Ok(())).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn misspelt_keys_are_refused() {
        assert!(toml::from_str::<Config>("[vm]\nmemroy = \"1G\"\n").is_err());
        assert!(toml::from_str::<Config>("[vm]\nmemory = \"lots\"\n").is_err());
    }
}
