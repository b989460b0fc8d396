//! Bounds on what the processes of VMs write: consoles and logs, which a guest can make grow for ever.
//!
//! They are looked at once a second while a VM runs; in between a guest can write more, and so it can while no daemon runs.
//! The next one cuts what it finds.

use super::{RealHost, places::Places};
use banger_model::{
    ByteSize, VmId,
    host_name::{VmFile, boot_of_console},
};
use banger_vmm::trim::trim;
use std::{collections::HashSet, fs, path::PathBuf, sync::Mutex};

/// How much of a disk the console of a boot takes before it is cut to half of that.
const CONSOLE: ByteSize = ByteSize::mib(8);
/// The same for what a VMM or a network process says itself.
const LOG: ByteSize = ByteSize::mib(1);

/// Files that could not be cut, each told of once.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<HashSet<PathBuf>>);

impl RealHost {
    /// Cuts what has grown too large. Blocks for a few look-ups of names for each VM that runs.
    pub(super) fn trim_all(&self) {
        for id in self.vmms.ids() {
            for (path, most) in files(&self.places, id) {
                match trim(&path, most.0) {
                    Ok(false) => {}
                    Ok(true) => tracing::debug!(path = %path.display(), "cut"),
                    Err(error) => self.complaints.tell(path, &error),
                }
            }
        }
    }
}

impl Complaints {
    pub(super) fn tell(&self, path: PathBuf, error: &(dyn std::error::Error + 'static)) {
        let mut told = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !told.contains(&path) {
            tracing::warn!(path = %path.display(), error, "it grows, and cannot be cut");
            told.insert(path);
        }
    }
}

/// Those of a VM, and how large each may become.
fn files(places: &Places, id: VmId) -> Vec<(PathBuf, ByteSize)> {
    let names = fs::read_dir(places.folder(id)).into_iter().flatten().filter_map(Result::ok);
    let consoles = names.filter(|entry| entry.file_name().to_str().and_then(boot_of_console).is_some());
    let logs = [VmFile::VmmLog, VmFile::UserNetLog].map(|file| (places.file(id, file), LOG));
    consoles.map(|entry| (entry.path(), CONSOLE)).chain(logs).collect()
}
