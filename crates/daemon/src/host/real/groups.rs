//! The control groups of VMs, below the daemon's own; none where the user has none to share out.

use super::{RealHost, task};
use crate::{
    db::VmRow,
    host::{Change, HostError},
    resource::Resource,
};
use banger_model::{
    VmId,
    host_name::{control_group, vm_of_control_group},
};
use banger_vmm::Engine;
use banger_vmm::confine::cgroup::{Groups, NoGroups};
use banger_vmm::confine::group_limits::GroupLimits;
use std::path::PathBuf;

/// Takes possession of the group that this process is in.
pub(super) fn take() -> Result<Groups, NoGroups> {
    Groups::take()
        .inspect(|groups| tracing::info!(group = %groups.base().display(), "VMs have control groups"))
        .inspect_err(|why| tracing::info!(why = why as &dyn std::error::Error, "VMs have no control groups"))
}

impl RealHost {
    /// The VM's group, whether or not it is there; none where there are no groups.
    pub(super) fn group(&self, id: VmId) -> Option<PathBuf> {
        self.groups.as_ref().ok().map(|groups| groups.path(&control_group(id)))
    }

    pub(super) fn make_group(&self, vm: &VmRow) -> Result<Change, HostError> {
        let Ok(groups) = &self.groups else { return Ok(Change::Unchanged) };
        let boot = vm.boot.as_ref().ok_or(HostError::NoBoot)?;
        let engine = Engine::of(boot.vmm, boot.accel).ok_or(HostError::NoBoot)?;
        let limits = GroupLimits::of(vm.spec.vcpu, vm.spec.memory, engine);
        match groups.ensure(&control_group(vm.id), &limits) {
            Ok(true) => Ok(Change::Changed),
            Ok(false) => Ok(Change::Unchanged),
            Err((path, source)) => Err(HostError::File { resource: Resource::Group, path, source }),
        }
    }

    pub(super) async fn remove_group(&self, id: VmId) -> Result<Change, HostError> {
        let Ok(groups) = self.groups.as_ref().cloned() else { return Ok(Change::Unchanged) };
        task(move || match groups.remove(&control_group(id)) {
            Ok(true) => Ok(Change::Changed),
            Ok(false) => Ok(Change::Unchanged),
            Err((path, source)) => Err(HostError::File { resource: Resource::Group, path, source }),
        })
        .await
    }

    /// The VMs that have a group.
    pub(super) fn grouped(&self) -> Result<Vec<VmId>, HostError> {
        let Ok(groups) = &self.groups else { return Ok(Vec::new()) };
        let failed = |source| HostError::Folder { path: groups.base().into(), source };
        Ok(groups.names().map_err(failed)?.iter().filter_map(|name| vm_of_control_group(name)).collect())
    }
}
