//! How a VM's disks stand to the host's at this moment.

use super::places::Places;
use crate::room::DiskRoom;
use banger_model::{ByteSize, VmId, host_name::VmFile};
use std::os::unix::fs::MetadataExt;

/// The unit of `st_blocks`, in bytes, whatever the file system.
const BLOCK: u64 = 512;

/// Of the VM's writable disks together.
pub(super) fn of_disks(places: &Places, id: VmId) -> Option<DiskRoom> {
    let stands = rustix::fs::statvfs(places.folder(id)).ok()?;
    let growth = [VmFile::Layer, VmFile::WorkDisk]
        .into_iter()
        .filter_map(|file| std::fs::metadata(places.file(id, file)).ok())
        .map(|disk| disk.len().saturating_sub(disk.blocks().saturating_mul(BLOCK)))
        .sum();
    Some(DiskRoom { free: ByteSize(stands.f_bavail.saturating_mul(stands.f_frsize)), growth: ByteSize(growth) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparse_disks_may_grow_by_what_is_not_there_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let paths = banger_model::paths::Paths {
            data: folder.path().into(),
            state: folder.path().into(),
            runtime: folder.path().into(),
            config: folder.path().into(),
        };
        let (places, id) = (Places::of(&paths), VmId::from_entropy([1; 16]));
        assert_eq!(of_disks(&places, id), None);
        std::fs::create_dir_all(places.folder(id)).unwrap();
        let disk = std::fs::File::create(places.file(id, VmFile::Layer)).unwrap();
        disk.set_len(10 << 20).unwrap();
        assert_eq!(of_disks(&places, id).unwrap().growth, ByteSize::mib(10));
        std::os::unix::fs::FileExt::write_all_at(&disk, &[1; 1 << 20], 0).unwrap();
        disk.sync_all().unwrap();
        let growth = of_disks(&places, id).unwrap().growth;
        assert!(growth <= ByteSize::mib(9) && growth > ByteSize::mib(8), "{growth}");
    }
}
