//! What is on the host, without asking anybody.

use super::{RealHost, task};
use crate::{
    host::{HostError, Inventory, Present},
    resource::Resource,
};
use banger_model::{
    VmId,
    host_name::{VmFile, vm_of_folder},
};
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

impl RealHost {
    /// One VM: a handful of look-ups of names, no more.
    pub(super) fn present(&self, id: VmId) -> Present {
        let there = |file| self.places.file(id, file).exists();
        let recorded = there(VmFile::VmmRecord);
        let vmm_alive = (recorded || self.vmms.last(id).is_some()) && self.vmm(id).is_some();
        let networked = there(VmFile::UserNetRecord);
        let resources = [
            (Resource::WorkDisk, there(VmFile::WorkDisk)),
            (Resource::Layer, there(VmFile::Layer)),
            (Resource::Group, self.group(id).is_some_and(|group| group.exists())),
            (Resource::Sockets, self.places.runtime(id).exists()),
            (Resource::Vmm, vmm_alive || recorded),
            (Resource::UserNet, networked),
        ];
        Present {
            resources: resources.into_iter().filter(|(_, there)| *there).map(|(resource, _)| resource).collect(),
            vmm_alive,
            net_alive: networked && self.usernet(id).is_some(),
        }
    }

    /// Every VM that left a trace: a folder, a control group, or a process.
    pub(super) async fn everything(&self) -> Result<Inventory, HostError> {
        let (vms, sockets, filter) = (self.places.vms.clone(), self.places.sockets.clone(), self.filter.clone());
        let mut ids = task(move || {
            let mut ids = folders(&vms)?;
            ids.extend(folders(&sockets)?);
            let processes = |source| HostError::Processes { source };
            ids.extend(banger_vmm::scan(&sockets).map_err(processes)?.into_iter().map(|found| found.vm));
            let name = filter.file_name().unwrap_or_default().to_string_lossy().into_owned();
            ids.extend(banger_vmm::companions(&name, &sockets).map_err(processes)?.into_iter().map(|found| found.vm));
            Ok(ids)
        })
        .await?;
        ids.extend(self.grouped()?);
        Ok(ids.into_iter().map(|id| (id, self.present(id))).collect())
    }
}

/// The VMs that have a folder there. What is named otherwise is not ours.
pub(super) fn folders(root: &Path) -> Result<BTreeSet<VmId>, HostError> {
    let failed = |source| HostError::Folder { path: PathBuf::from(root), source };
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries.map_err(failed)?,
    };
    let mut ids = BTreeSet::new();
    for entry in entries {
        ids.extend(entry.map_err(failed)?.file_name().to_str().and_then(vm_of_folder));
    }
    Ok(ids)
}
