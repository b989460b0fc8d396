//! What a guest loads before it has its root: the lines of `/modules/order` in the initramfs.

use std::collections::BTreeSet;
use std::fmt;

/// The type of a virtio device: section 5 of the virtio specification numbers them (1 a network card, 2 a disk, …).
pub type VirtioType = u32;

/// One module, and what it is for. As text a file name and the numbers of types, with spaces between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootModule {
    /// Its file in `/modules`.
    pub file: String,
    /// The devices of which the machine must have one, or it is of no use; always of use when there are none.
    pub devices: BTreeSet<VirtioType>,
}

impl BootModule {
    /// Reads a line; none if there is nothing in it. What is no number after the name is passed over: a module too many does no
    /// harm, and one that has lost its devices is loaded.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let file = words.next()?.to_owned();
        Some(Self { file, devices: words.filter_map(|word| word.parse().ok()).collect() })
    }

    /// Whether a machine with these devices has use for it.
    pub fn is_for(&self, machine: &BTreeSet<VirtioType>) -> bool {
        self.devices.is_empty() || !self.devices.is_disjoint(machine)
    }
}

impl fmt::Display for BootModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        self.devices.iter().try_for_each(|device| write!(f, " {device}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_for_machines_that_have_one_of_its_devices() {
        let module = |line: &str| BootModule::parse(line).unwrap();
        let for_disks_only = |line: &str| module(line).is_for(&[2].into());
        assert!(for_disks_only("00-virtio.ko") && for_disks_only("03-both.ko 1 2"));
        assert!(!for_disks_only("05-net.ko 1") && !for_disks_only("05-net.ko 1 x"));
        for line in ["00-virtio.ko", "03-both.ko 1 2"] {
            assert_eq!(module(line).to_string(), line);
        }
        assert_eq!(BootModule::parse(" "), None);
    }
}
