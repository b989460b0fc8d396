//! What a VM's host objects are called: a pure, versioned function of (VM id, role).
//!
//! Recovery depends on it: any object that carries our prefix can be traced to its VM, or to none, from its name alone.
//! Change a format only by adding a version; reconcile must still understand the old one.

use crate::VmId;

/// A file in the VM's own folder of the state directory. The folder is named by the VM's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VmFile {
    /// The sparse ext4 that the guest writes over its read-only image.
    Layer,
    /// The ext4 at `/root`.
    WorkDisk,
    /// The identity of the running VMM process, written before memory knows of it.
    VmmRecord,
    /// What the VMM itself prints.
    VmmLog,
    /// The counters that the VMM writes.
    Metrics,
    /// What those add up to, as far as they have been read.
    MetricsTotal,
    /// The identity of the running user-mode network process.
    UserNetRecord,
    /// What the user-mode network process prints.
    UserNetLog,
}

impl VmFile {
    /// Every kind, for tests and sweeps.
    pub const ALL: [Self; 8] = [
        Self::Layer,
        Self::WorkDisk,
        Self::VmmRecord,
        Self::VmmLog,
        Self::Metrics,
        Self::MetricsTotal,
        Self::UserNetRecord,
        Self::UserNetLog,
    ];

    /// The file's name below the VM's folder.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Layer => "layer.v1.ext4",
            Self::WorkDisk => "work.v1.ext4",
            Self::VmmRecord => "vmm.v1.json",
            Self::VmmLog => "vmm.log",
            Self::Metrics => "metrics.v1.jsonl",
            Self::MetricsTotal => "metrics-total.v1.json",
            Self::UserNetRecord => "usernet.v1.json",
            Self::UserNetLog => "usernet.log",
        }
    }
}

/// The name of a boot's console, below the VM's folder.
pub fn console_file(boot: u32) -> String {
    format!("console.{boot}.log")
}

/// The boot whose console has that name, if it is one.
pub fn boot_of_console(name: &str) -> Option<u32> {
    let number = name.strip_prefix("console.")?.strip_suffix(".log")?;
    number.parse().ok().filter(|boot: &u32| boot.to_string() == number)
}

/// The VM's control group, below the daemon's.
pub fn control_group(id: VmId) -> String {
    format!("vm-{id}")
}

/// The VM whose control group has that name, if it is one of ours.
pub fn vm_of_control_group(name: &str) -> Option<VmId> {
    name.strip_prefix("vm-")?.parse().ok()
}

/// The VM whose folder this is, if the name is one of ours.
pub fn vm_of_folder(name: &str) -> Option<VmId> {
    name.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn file_names_differ() {
        let names: BTreeSet<_> = VmFile::ALL.iter().map(|f| f.file_name()).collect();
        assert_eq!(names.len(), VmFile::ALL.len());
    }

    #[test]
    fn consoles_trace_back_to_their_boot() {
        assert_eq!(boot_of_console(&console_file(7)), Some(7));
        for other in ["console.log", "console.x.log", "console.07.log", "console.+7.log", "vmm.log"] {
            assert_eq!(boot_of_console(other), None, "{other}");
        }
    }

    #[test]
    fn control_groups_trace_back_to_their_vm() {
        let id = VmId::from_entropy([7; 16]);
        assert_eq!(vm_of_control_group(&control_group(id)), Some(id));
        assert_eq!(vm_of_control_group("daemon"), None);
        assert_eq!(vm_of_control_group(id.as_str()), None);
    }

    #[test]
    fn folders_trace_back_to_their_vm() {
        let id = VmId::from_entropy([7; 16]);
        assert_eq!(vm_of_folder(id.as_str()), Some(id));
        assert_eq!(vm_of_folder("lost+found"), None);
    }
}
