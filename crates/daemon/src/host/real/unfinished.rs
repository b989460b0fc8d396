//! What daemons before have left, as the next one finds it before it does anything.
//!
//! Files of a VM's folder, and the proofs of KVM, are written under a name that ends in [`UNFINISHED`] and then renamed. Only
//! a daemon writes them, in threads that end with it, and there is one daemon at a time: so when one begins, the owner of
//! whatever has such a name is gone. Later nothing is swept, because owners live then.

use super::{inventory::folders, places::Places};
use crate::host::HostError;
use banger_model::paths::Paths;
use std::{fs, path::PathBuf};

/// How the names of files end that are not whole yet.
const UNFINISHED: &str = ".new";

/// How many VMs have a folder on the host, whatever the database says.
pub(crate) fn vms_with_folders(paths: &Paths) -> Result<usize, HostError> {
    folders(&Places::of(paths).vms).map(|ids| ids.len())
}

/// Removes the files that were never finished, and says how many there were. To be called by the only daemon, before it
/// makes any. What cannot be removed stays: it is overwritten by the next of its name, or goes with its VM.
pub(crate) fn sweep_unfinished(paths: &Paths) -> usize {
    let places = Places::of(paths);
    let vms = folders(&places.vms).unwrap_or_default().into_iter().map(|id| places.folder(id));
    let swept = vms.chain([places.proofs.clone()]).flat_map(|folder| unfinished(&folder));
    swept.filter(|path| fs::remove_file(path).is_ok()).count()
}

fn unfinished(folder: &std::path::Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.to_string_lossy().ends_with(UNFINISHED)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_model::{VmId, host_name::VmFile};

    #[test]
    fn only_what_was_never_finished_is_swept_and_nothing_of_strangers() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let paths = Paths { data: at("data"), state: at("state"), runtime: at("run"), config: at("config.toml") };
        assert_eq!((vms_with_folders(&paths).unwrap(), sweep_unfinished(&paths)), (0, 0));
        let places = Places::of(&paths);
        let id = VmId::from_entropy([3; 16]);
        let kept = [
            places.file(id, VmFile::WorkDisk),
            places.file(id, VmFile::VmmRecord),
            places.proofs.join("kvm-qemu.v1.json"),
            places.vms.join("my notes/list.new"),
        ];
        let swept = [
            places.folder(id).join("work.v1.ext4.new"),
            places.folder(id).join("vmm.v1.json.new"),
            places.proofs.join("kvm-qemu.v1.json.new"),
        ];
        for path in kept.iter().chain(&swept) {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        assert_eq!((vms_with_folders(&paths).unwrap(), sweep_unfinished(&paths)), (1, 3));
        assert!(kept.iter().all(|path| path.exists()) && !swept.iter().any(|path| path.exists()));
    }
}
