//! Why there is no `/dev/kvm`, as far as an ordinary user can find out: each cause has another fix.

use serde::{Deserialize, Serialize};
use std::path::Path;

/// What stands in the way of a `/dev/kvm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Absent {
    /// The processor, as far as this host shows it, cannot.
    Processor,
    /// It can, but the kernel's module is not loaded.
    Module {
        /// Intel's or AMD's.
        intel: bool,
    },
    /// It can, and the module is loaded: this part of the system, such as a container, was not given the device.
    Node,
}

impl Absent {
    /// Finds out on this host.
    pub(super) fn look() -> Self {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Self::of(&cpuinfo, |module| Path::new("/sys/module").join(module).exists())
    }

    fn of(cpuinfo: &str, loaded: impl Fn(&str) -> bool) -> Self {
        let flags = cpuinfo.lines().find_map(|line| line.strip_prefix("flags")).unwrap_or_default();
        let has = |flag| flags.split_ascii_whitespace().any(|known| known == flag);
        if loaded("kvm_intel") || loaded("kvm_amd") {
            return Self::Node;
        }
        match (has("vmx"), has("svm")) {
            (true, _) => Self::Module { intel: true },
            (false, true) => Self::Module { intel: false },
            (false, false) => Self::Processor,
        }
    }

    /// What the user can do about it.
    pub(super) fn fix(self) -> String {
        match self {
            Self::Processor => {
                "enable virtualization (VT-x or AMD-V) in the firmware; if this host is a virtual machine itself, \
                                ask its host for nested virtualization"
                    .into()
            }
            Self::Module { intel } => {
                let module = if intel { "kvm_intel" } else { "kvm_amd" };
                format!("run `sudo modprobe {module}`; if that fails, enable virtualization in the firmware")
            }
            Self::Node => "give the device to this container (with `--device /dev/kvm` where it is made), or run \
                           `sudo udevadm trigger /dev/kvm` on a host"
                .into(),
        }
    }
}

impl std::fmt::Display for Absent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Processor => "this processor shows no virtualization",
            Self::Module { .. } => "the kernel's module for it is not loaded",
            Self::Node => "its module is loaded, but this part of the system was not given the device",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_own_fix() {
        let look = |flags: &str, modules: &[&str]| {
            let absent =
                Absent::of(&format!("processor : 0\nflags\t\t: fpu {flags} sse\n"), |name| modules.contains(&name));
            (absent, absent.fix())
        };
        let (absent, fix) = look("", &[]);
        assert!(absent == Absent::Processor && fix.contains("firmware") && fix.contains("nested"), "{fix}");
        let (absent, fix) = look("vmx", &["kvm"]);
        assert!(absent == Absent::Module { intel: true } && fix.contains("modprobe kvm_intel"), "{fix}");
        let (absent, fix) = look("svm", &[]);
        assert!(absent == Absent::Module { intel: false } && fix.contains("modprobe kvm_amd"), "{fix}");
        let (absent, fix) = look("svm", &["kvm", "kvm_amd"]);
        assert!(absent == Absent::Node && fix.contains("--device /dev/kvm"), "{fix}");
        assert_eq!(Absent::of("", |_| false), Absent::Processor);
    }
}
