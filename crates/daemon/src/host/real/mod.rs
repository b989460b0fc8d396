//! The real host: files below our folders and processes that outlive us. Needs no rights but its user's.
//!
//! Each file here has one kind of thing; this one only says which resource is whose. What is there is always asked of the
//! host, never remembered, but for processes, which are held so that no other can take their place.

mod boot;
mod choose;
mod disks;
mod groups;
mod held;
mod inventory;
mod machine;
mod places;
mod room;
mod sessions;
mod stats;
mod trim;
mod unfinished;
mod usernet;

pub(crate) use unfinished::{sweep_unfinished, vms_with_folders};

use super::{BootError, Change, ChooseError, Host, HostError, Inventory, NoUserNet, Present};
use super::{Usage, UsageError};
use crate::{
    boot_files::BootFiles,
    config::ConfigFile,
    db::{BootRow, VmRow},
    guest::{Session, SessionError},
    logbook::Log,
    op::OpCx,
    resource::Resource,
    room::DiskRoom,
    search_path::search_path,
};
use banger_model::{
    ByteSize, VmId,
    api::vm::EndReason,
    host_name::VmFile,
    paths::Paths,
    spec::{NetMode, VmmKind},
    wire::guest::GuestFacts,
};
use banger_vmm::HostUsage;
use banger_vmm::confine::cgroup::{Groups, NoGroups};
use banger_vmm::record::{CompanionRecord, VmmRecord};
use futures_util::future::BoxFuture;
use held::Held;
use places::Places;
use sessions::Sessions;
use std::path::PathBuf;
use usernet::NetPrograms;

/// This machine.
pub(crate) struct RealHost {
    places: Places,
    boot_files: BootFiles,
    config: ConfigFile,
    /// The program that filters user-mode networks.
    filter: PathBuf,
    vmms: Held<VmmRecord>,
    usernets: Held<CompanionRecord>,
    sessions: Sessions,
    groups: Result<Groups, NoGroups>,
    complaints: trim::Complaints,
    cautions: choose::Cautions,
}

impl RealHost {
    /// `filter` is the program that filters user-mode networks. Takes possession of this process's control group, if that can be.
    pub(crate) fn new(paths: &Paths, boot_files: BootFiles, config: ConfigFile, filter: PathBuf) -> Self {
        Self {
            places: Places::of(paths),
            boot_files,
            config,
            filter,
            vmms: Held::new(Resource::Vmm),
            usernets: Held::new(Resource::UserNet),
            sessions: Sessions::default(),
            groups: groups::take(),
            complaints: trim::Complaints::default(),
            cautions: choose::Cautions::default(),
        }
    }

    async fn make(&self, vm: &VmRow, resource: Resource, cx: &OpCx) -> Result<Change, HostError> {
        match resource {
            Resource::WorkDisk => disks::ensure_work(&self.places, &self.boot_files, vm).await,
            Resource::Layer => disks::ensure_layer(&self.places, vm).await,
            Resource::Group => self.make_group(vm),
            Resource::Sockets => self.make_sockets(vm.id),
            Resource::UserNet => self.start_usernet(vm, cx).await,
            Resource::Vmm => self.start_vmm(vm).await,
        }
    }

    fn make_sockets(&self, id: VmId) -> Result<Change, HostError> {
        let folder = self.places.runtime(id);
        if folder.is_dir() {
            return Ok(Change::Unchanged);
        }
        disks::make_folder(Resource::Sockets, &folder)?;
        Ok(Change::Changed)
    }

    async fn start_usernet(&self, vm: &VmRow, cx: &OpCx) -> Result<Change, HostError> {
        if vm.spec.net == NetMode::None || self.usernet(vm.id).is_some() {
            return Ok(Change::Unchanged);
        }
        let programs = self.net_programs()?;
        let process = usernet::start(&self.places, &programs, vm, self.group(vm.id), cx)
            .await
            .map_err(|source| HostError::UserNet { source })?;
        self.usernets.hold(vm.id, process);
        Ok(Change::Changed)
    }

    async fn start_vmm(&self, vm: &VmRow) -> Result<Change, HostError> {
        if self.vmm(vm.id).is_some() {
            return Ok(Change::Unchanged);
        }
        let kind = vm.boot.as_ref().ok_or(HostError::NoBoot)?.vmm;
        let program = machine::program(&self.config, kind, &search_path()).await?;
        let mut config = machine::config(&self.places, &self.boot_files, vm, program).await?;
        config.cgroup = self.group(vm.id);
        machine::drop_old_consoles(&self.places, vm.id, vm.boots);
        let vmm = banger_vmm::launch(&config).await.map_err(|source| HostError::Launch { source })?;
        self.vmms.hold(vm.id, vmm);
        Ok(Change::Changed)
    }

    async fn unmake(&self, id: VmId, resource: Resource) -> Result<Change, HostError> {
        let sockets = self.places.sockets.clone();
        match resource {
            Resource::WorkDisk => disks::remove_work(&self.places, id).await,
            Resource::Layer => disks::remove_layer(&self.places, id).await,
            Resource::Group => self.remove_group(id).await,
            Resource::Sockets => disks::remove_tree(Resource::Sockets, self.places.runtime(id)).await,
            Resource::UserNet => {
                let record = self.places.file(id, VmFile::UserNetRecord);
                let name = self.filter.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let strays = move || {
                    let found = banger_vmm::companions(&name, &sockets)?;
                    Ok(found.into_iter().filter(|found| found.vm == id).collect())
                };
                self.usernets.end(id, &record, strays).await
            }
            Resource::Vmm => {
                self.sessions.forget(id);
                let record = self.places.file(id, VmFile::VmmRecord);
                self.vmms.end(id, &record, move || banger_vmm::find(id, &sockets)).await
            }
        }
    }

    fn net_programs(&self) -> Result<NetPrograms, HostError> {
        let passt = self.config.load()?.programs.passt;
        Ok(NetPrograms::find(&self.filter, passt.as_deref(), &search_path())?)
    }
}

impl Host for RealHost {
    fn ensure<'a>(
        &'a self,
        vm: &'a VmRow,
        resource: Resource,
        cx: &'a OpCx,
    ) -> BoxFuture<'a, Result<Change, HostError>> {
        Box::pin(self.make(vm, resource, cx))
    }

    fn remove(&self, id: VmId, resource: Resource) -> BoxFuture<'_, Result<Change, HostError>> {
        Box::pin(self.unmake(id, resource))
    }

    fn inventory(&self) -> BoxFuture<'_, Result<Inventory, HostError>> {
        Box::pin(self.everything())
    }

    fn observe(&self, id: VmId) -> Present {
        self.present(id)
    }

    fn boot<'a>(&'a self, vm: &'a VmRow, cx: &'a OpCx) -> BoxFuture<'a, Result<GuestFacts, BootError>> {
        Box::pin(self.boot_guest(vm, cx))
    }

    fn shutdown<'a>(&'a self, vm: &'a VmRow) -> BoxFuture<'a, bool> {
        Box::pin(self.shut_guest_down(vm))
    }

    fn ended<'a>(&'a self, vm: &'a VmRow) -> BoxFuture<'a, EndReason> {
        Box::pin(self.end_of(vm))
    }

    fn network_ended<'a>(&'a self, vm: &'a VmRow) -> BoxFuture<'a, String> {
        Box::pin(self.end_of_network(vm))
    }

    fn session(&self, id: VmId) -> BoxFuture<'_, Result<Session, SessionError>> {
        Box::pin(async move {
            let vmm = self.vmm(id).ok_or(SessionError::Ended)?;
            self.sessions.get(id, &vmm).await
        })
    }

    fn vmm_pid(&self, id: VmId) -> Option<u32> {
        self.vmm(id).map(|vmm| vmm.pid())
    }

    fn memory_taken(&self, id: VmId) -> Option<ByteSize> {
        self.vmm(id).and_then(|vmm| HostUsage::resident_of(vmm.pid()))
    }

    fn disk_room(&self, id: VmId) -> Option<DiskRoom> {
        room::of_disks(&self.places, id)
    }

    fn choose<'a>(&'a self, vm: &'a VmRow, cx: &'a OpCx) -> BoxFuture<'a, Result<BootRow, ChooseError>> {
        Box::pin(self.choose_vmm(vm, cx))
    }

    fn doubt_kvm(&self, vmm: VmmKind) {
        banger_vmm::prove::doubt(vmm, &self.places.proofs);
    }

    fn console(&self, id: VmId, boot: u32) -> PathBuf {
        self.places.console(id, boot)
    }

    fn groups(&self) -> Result<&Groups, &NoGroups> {
        self.groups.as_ref()
    }

    fn used(&self, id: VmId) -> u64 {
        disks::used(&self.places.folder(id))
    }

    fn logs(&self) -> Vec<Log> {
        // A folder that cannot be read now is told of by the inventory.
        let vms = inventory::folders(&self.places.vms).unwrap_or_default();
        let log = |id| Log { process: format!("banger-usernet {id}"), path: self.places.file(id, VmFile::UserNetLog) };
        vms.into_iter().map(log).collect()
    }

    fn tidy(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.trim_all();
            self.add_counters_up().await;
        })
    }

    fn usage(&self, id: VmId) -> BoxFuture<'_, Result<Usage, UsageError>> {
        Box::pin(async move {
            let vmm = self.vmm(id).ok_or(UsageError::Gone)?;
            self.usage_of(&vmm, id).await.map_err(|error| stats::unless_gone(&vmm, error))
        })
    }

    fn processor_time(&self, id: VmId) -> BoxFuture<'_, Result<std::time::Duration, UsageError>> {
        Box::pin(async move {
            let vmm = self.vmm(id).ok_or(UsageError::Gone)?;
            self.processor_time_of(&vmm).await.map_err(|error| stats::unless_gone(&vmm, error))
        })
    }

    fn user_net(&self) -> Result<(), NoUserNet> {
        match self.net_programs() {
            Err(HostError::NoUserNet(missing)) => Err(missing),
            // A configuration that cannot be read is told of where it matters.
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// Runs synchronous work on the host off the async threads.
async fn task<T: Send + 'static>(work: impl FnOnce() -> Result<T, HostError> + Send + 'static) -> Result<T, HostError> {
    crate::task::blocking(work).await.ok_or(HostError::Task)?
}
