//! The machine's virtio devices, as the kernel lists them.

use banger_model::wire::boot_module::VirtioType;
use std::collections::BTreeSet;
use std::path::PathBuf;

const DEVICES: &str = "/sys/bus/virtio/devices";

/// Each with its folder and type; none when the kernel has no such bus, or not yet.
pub(crate) fn devices() -> impl Iterator<Item = (PathBuf, Option<VirtioType>)> {
    let entries = std::fs::read_dir(DEVICES).into_iter().flatten().flatten();
    entries.map(|entry| {
        let kind = std::fs::read_to_string(entry.path().join("device")).unwrap_or_default();
        (entry.path(), parse_type(&kind))
    })
}

/// Which types there are.
pub(crate) fn types() -> BTreeSet<VirtioType> {
    devices().filter_map(|(_, kind)| kind).collect()
}

/// `0x0002` and a line's end.
fn parse_type(text: &str) -> Option<VirtioType> {
    VirtioType::from_str_radix(text.trim_end().strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_hexadecimal() {
        assert_eq!(parse_type("0x0013\n"), Some(19));
        assert_eq!(parse_type("19\n"), None);
        assert_eq!(parse_type(""), None);
    }
}
