//! The host as the rest of the daemon sees it: what each VM owns there, and the guests that run on it.
//!
//! [`Host`] has two implementations: [`real`] with files and processes, and, in tests, one that models their dependencies.
//! `ensure` and `remove` are idempotent and say whether they changed anything. Nothing here decides what a VM should own.

#[cfg(test)]
pub(crate) mod fake;
pub(crate) mod real;

use crate::{
    config::ConfigError,
    db::{BootRow, VmRow},
    guest::Session,
    logbook::Log,
    op::{Cancelled, OpCx},
    resource::Resource,
    room::DiskRoom,
};
use banger_image::{DiskError, image::ImageError, initramfs::InitramfsError, kernel::KernelError};
use banger_model::{
    ByteSize, VmId,
    api::{
        stats::{DiskStats, GuestMemoryStats, StreamStats},
        vm::EndReason,
    },
    spec::VmmKind,
    vm::Observed,
    wire::guest::GuestFacts,
};
use banger_vmm::confine::cgroup::{Groups, NoGroups};
use banger_vmm::{BinaryError, CompanionError, HostUsage, KillError, LaunchError, StatsError, WatchError};
use futures_util::future::BoxFuture;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

/// Whether an effect was needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It was so before.
    Unchanged,
    /// It is so now.
    Changed,
}

/// What the host shows of one VM.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Present {
    /// What is there. A VMM is there as long as any trace of it is.
    pub(crate) resources: BTreeSet<Resource>,
    /// Its VMM lives, its identity proved.
    pub(crate) vmm_alive: bool,
    /// So does the process that is its network.
    pub(crate) net_alive: bool,
}

impl Present {
    /// The part of it that a status depends on.
    pub(crate) fn observed(&self) -> Observed {
        use banger_model::vm::Target;
        let at_rest: BTreeSet<_> = crate::resource::up_to(Target::Stopped).collect();
        Observed {
            at_rest_complete: at_rest.is_subset(&self.resources),
            runtime_present: self.resources.iter().any(|resource| !at_rest.contains(resource)),
            vmm_alive: self.vmm_alive,
        }
    }
}

/// What the host shows of all VMs, those that no row owns included.
pub(crate) type Inventory = BTreeMap<VmId, Present>;

/// An effect on the host that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostError {
    #[error("the {resource} of the VM: {}", path.display())]
    File { resource: Resource, path: PathBuf, source: std::io::Error },
    #[error("the {resource} of the VM cannot be made")]
    Disk { resource: Resource, source: DiskError },
    #[error("the VM's image cannot be used")]
    Image { source: ImageError },
    #[error("the VM's kernel cannot be used")]
    Kernel { source: KernelError },
    #[error("the guest's first files cannot be made")]
    Initramfs { source: InitramfsError },
    #[error("the program of the VMM cannot be used")]
    Program { source: BinaryError },
    #[error("the VMM could not be started")]
    Launch { source: LaunchError },
    #[error("the {resource} of the VM cannot be watched")]
    Watch { resource: Resource, source: WatchError },
    #[error("the {resource} of the VM cannot be ended")]
    Kill { resource: Resource, source: KillError },
    #[error("the user-mode network could not be started")]
    UserNet { source: CompanionError },
    #[error(transparent)]
    NoUserNet(#[from] NoUserNet),
    #[error("the processes of this host cannot be listed")]
    Processes { source: std::io::Error },
    #[error("the folder {} cannot be read", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("a task on the host ended without an answer")]
    Task,
    #[error("the VM has no boot on record")]
    NoBoot,
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    #[cfg(test)]
    #[error("planted failure of the {0}")]
    Planted(Resource),
}

/// There is no user-mode network here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoUserNet {
    #[error("a user-mode network needs passt, which is not installed: install the package passt, or use --net none")]
    Passt,
    #[error("{} is configured as passt but is no program that can be run", path.display())]
    Configured { path: PathBuf },
    #[error("a user-mode network needs {}, which is not there: it belongs beside bangerd", path.display())]
    Filter { path: PathBuf },
}

/// A guest that did not come up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootError {
    #[error("the guest's kernel panicked: {message}")]
    Panicked { message: String, console: Vec<String> },
    #[error("the VMM ended before the guest was up: {exit}")]
    VmmEnded { exit: String, console: Vec<String>, log: Vec<String> },
    #[error("the agent in the guest did not answer within {seconds} s")]
    Silent { seconds: u64, console: Vec<String> },
    #[error("the agent in the guest could not be set up")]
    Configure { source: crate::guest::SessionError, console: Vec<String> },
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// What a running VM uses of the host, and what its guest does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) host: HostUsage,
    pub(crate) guest: Option<GuestMemoryStats>,
    pub(crate) disks: Vec<DiskStats>,
    pub(crate) vsock: Option<StreamStats>,
}

/// A VM of which nothing can be told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UsageError {
    #[error("its VMM is gone")]
    Gone,
    #[error(transparent)]
    Stats(StatsError),
}

/// Effects on the host, and talking to guests.
pub(crate) trait Host: Send + Sync + 'static {
    /// Makes the resource be there.
    fn ensure<'a>(
        &'a self,
        vm: &'a VmRow,
        resource: Resource,
        cx: &'a OpCx,
    ) -> BoxFuture<'a, Result<Change, HostError>>;

    /// Makes the resource not be there. A VMM is killed.
    fn remove(&self, id: VmId, resource: Resource) -> BoxFuture<'_, Result<Change, HostError>>;

    /// Everything of ours that is on the host.
    fn inventory(&self) -> BoxFuture<'_, Result<Inventory, HostError>>;

    /// What is there of one VM. Cheap: asked for every VM of a listing.
    fn observe(&self, id: VmId) -> Present;

    /// Waits for the agent of a VM whose resources are all there, gives it the VM's facts, and returns its own.
    fn boot<'a>(&'a self, vm: &'a VmRow, cx: &'a OpCx) -> BoxFuture<'a, Result<GuestFacts, BootError>>;

    /// Asks the guest to end, and waits for the VMM to have ended, within a bound. True when it has.
    fn shutdown<'a>(&'a self, vm: &'a VmRow) -> BoxFuture<'a, bool>;

    /// Resolves when the VM's VMM has ended, with what its console tells of the end; at once when there is none.
    fn ended<'a>(&'a self, vm: &'a VmRow) -> BoxFuture<'a, EndReason>;

    /// Resolves when the process that is the VM's network has ended, with its last words, though the VM is to have one; at
    /// once when there is none, and never for a VM that is to have none.
    fn network_ended<'a>(&'a self, vm: &'a VmRow) -> BoxFuture<'a, String>;

    /// A session with the agent of a running VM.
    fn session(&self, id: VmId) -> BoxFuture<'_, Result<Session, crate::guest::SessionError>>;

    /// The VMM's process.
    fn vmm_pid(&self, id: VmId) -> Option<u32>;

    /// What the VMM holds of the host's memory; none when there is no VMM.
    fn memory_taken(&self, id: VmId) -> Option<ByteSize>;

    /// How its disks stand to the host's; none when that cannot be told. Cheap: asked for every VM of a listing.
    fn disk_room(&self, id: VmId) -> Option<DiskRoom>;

    /// Which VMM is to run a VM, and why. May take a while the first time.
    fn choose<'a>(&'a self, vm: &'a VmRow, cx: &'a OpCx) -> BoxFuture<'a, Result<BootRow, ChooseError>>;

    /// Has KVM proved anew for that VMM: a guest has not come up although it was proved, or somebody wants to know.
    fn doubt_kvm(&self, vmm: VmmKind);

    /// The console of a boot of the VM; the file may not be there yet.
    fn console(&self, id: VmId, boot: u32) -> PathBuf;

    /// The control groups of VMs, or why there are none.
    fn groups(&self) -> Result<&Groups, &NoGroups>;

    /// What the VM's files take of this host's disk, in bytes.
    fn used(&self, id: VmId) -> u64;

    /// The logs of processes that were started for VMs.
    fn logs(&self) -> Vec<Log>;

    /// Keeps what guests and their VMMs write within its bounds. Called every second.
    fn tidy(&self) -> BoxFuture<'_, ()>;

    /// What a running VM uses. Takes some seconds at most.
    fn usage(&self, id: VmId) -> BoxFuture<'_, Result<Usage, UsageError>>;

    /// Processor time that its VMM has used.
    fn processor_time(&self, id: VmId) -> BoxFuture<'_, Result<Duration, UsageError>>;

    /// Whether user-mode networks can be had, and what is missing if not.
    fn user_net(&self) -> Result<(), NoUserNet>;
}

/// No VMM can run the VM.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChooseError {
    #[error("no VMM can run it here")]
    None { source: banger_vmm::ChooseError },
    #[error(transparent)]
    Host(#[from] Box<HostError>),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}
