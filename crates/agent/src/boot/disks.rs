//! The VM's disks, told apart by their volume labels.
//!
//! Owns: finding them among the machine's block devices, and waiting for those that are still to come: every virtio block
//! device that the machine has must have shown its disk, so that none is taken for absent that is merely late.

use super::BootError;
use crate::uevent::Uevents;
use crate::virtio;
use banger_model::wire::boot_module::VirtioType;
use banger_model::wire::guest::label;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::pread;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Where ext4's superblock begins, in bytes.
const SUPERBLOCK: u64 = 1024;
/// In it: the magic number.
const MAGIC: (usize, [u8; 2]) = (56, [0x53, 0xef]);
/// In it: the label, padded with zeros.
const LABEL: std::ops::Range<usize> = 120..136;
/// The virtio device type of disks.
const VIRTIO_BLOCK: VirtioType = 2;

/// The disks of a VM.
#[derive(Debug)]
pub(super) struct Disks {
    pub(super) image: PathBuf,
    pub(super) layer: PathBuf,
    pub(super) work: Option<PathBuf>,
    pub(super) modules: Option<PathBuf>,
}

impl Disks {
    /// Finds them; waits until `deadline` for those that are not there yet.
    pub(super) fn find(uevents: Option<&Uevents>, deadline: Instant) -> Result<Self, BootError> {
        loop {
            let labelled = labelled();
            let mut all = [label::IMAGE, label::LAYER, label::WORK, label::MODULES].map(|wanted| {
                let found = labelled.iter().find(|(_, label)| label == wanted);
                found.map(|(device, _)| device.clone())
            });
            let [image, layer, work, modules] = all.each_mut().map(Option::take);
            let label = match (image, layer) {
                (Some(image), Some(layer)) if all_shown() => return Ok(Self { image, layer, work, modules }),
                (None, _) => label::IMAGE,
                (_, None) => label::LAYER,
                (Some(_), Some(_)) => label::WORK,
            };
            if !uevents.is_some_and(|uevents| uevents.wait(deadline)) {
                let described = labelled.iter().map(|(device, label)| format!("{} {label:?}", device.display()));
                let found = match described.collect::<Vec<_>>() {
                    none if none.is_empty() => "none".to_owned(),
                    some => some.join(", "),
                };
                return Err(BootError::NoDisk { label, found });
            }
        }
    }
}

/// Block devices that hold an ext4, with its label.
fn labelled() -> Vec<(PathBuf, String)> {
    let Ok(folder) = std::fs::read_dir("/sys/class/block") else { return Vec::new() };
    let devices = folder.flatten().map(|entry| Path::new("/dev").join(entry.file_name()));
    devices.filter_map(|device| label_of(&device).map(|label| (device, label))).collect()
}

fn label_of(device: &Path) -> Option<String> {
    let device = open(device, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut superblock = [0; 256];
    match pread(&device, &mut superblock, SUPERBLOCK) {
        Ok(n) if n == superblock.len() => parse_label(&superblock),
        _ => None,
    }
}

fn parse_label(superblock: &[u8; 256]) -> Option<String> {
    let (at, magic) = MAGIC;
    if superblock[at..at + 2] != magic {
        return None;
    }
    let label = superblock[LABEL].split(|byte| *byte == 0).next().unwrap_or_default();
    Some(String::from_utf8_lossy(label).into_owned())
}

/// Whether every virtio block device of the machine has its disk.
fn all_shown() -> bool {
    virtio::devices().all(|(device, kind)| kind != Some(VIRTIO_BLOCK) || device.join("block").exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_from_ext4_only() {
        let mut superblock = [0; 256];
        superblock[LABEL][..9].copy_from_slice(b"banger-xy");
        assert_eq!(parse_label(&superblock), None);
        superblock[56..58].copy_from_slice(&[0x53, 0xef]);
        assert_eq!(parse_label(&superblock).as_deref(), Some("banger-xy"));
        superblock[LABEL].copy_from_slice(b"exactly-16-bytes");
        assert_eq!(parse_label(&superblock).as_deref(), Some("exactly-16-bytes"));
    }
}
