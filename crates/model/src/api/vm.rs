//! VMs as clients ask for them and see them.

use crate::{
    ByteSize, ImageRef, KernelRef, OpId, VmId, VmName,
    spec::{Accel, DiskLimits, NetMode, VmSpec, VmmChoice, VmmKind},
    vm::{Status, Verb},
};
use serde::{Deserialize, Serialize};

/// Asks for a VM. What is left out comes from the configuration, then from the host, then is built in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct CreateVm {
    /// Its name; two words are chosen when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<VmName>,
    /// The image; pulled when it is not here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageRef>,
    /// The kernel; pulled when it is not here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<KernelRef>,
    /// Virtual CPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vcpu: Option<u32>,
    /// Memory in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
    /// Size of its disks in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<ByteSize>,
    /// Which VMM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vmm: Option<VmmChoice>,
    /// Which network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net: Option<NetMode>,
    /// How fast each of its disks may be used.
    #[serde(default, skip_serializing_if = "DiskLimits::is_none")]
    pub limits: DiskLimits,
    /// Start it at once. A start that fails leaves the VM stopped.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub start: bool,
    /// Tie the VM's life to this request: the answer stays open after `done`, and when the client closes it the VM is
    /// deleted. A VM that never became ready is kept, so that its logs can be read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rm: bool,
}

/// A VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct VmView {
    /// Its identity.
    pub id: VmId,
    /// Its name.
    pub name: VmName,
    /// What it is doing.
    pub status: Status,
    /// What it is made of.
    pub spec: VmSpec,
    /// Milliseconds since the epoch.
    pub created_ms: u64,
    /// How many times it has been started. Also the number of its latest boot, counted from 1.
    pub boots: u32,
    /// Deleted when the client that asked for it has gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rm: bool,
    /// While it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<RunningVm>,
    /// How its last boot ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_end: Option<BootEnd>,
    /// The operation that is open on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OpenOp>,
    /// What of it could not be removed when that was last tried. It is tried again until it is gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<LeftOver>,
}

/// A part of a VM that could not be removed from the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LeftOver {
    /// Which part.
    pub part: String,
    /// Why it is still there.
    pub why: String,
}

/// The open operation of a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct OpenOp {
    /// Its id; none from a daemon that has no ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op: Option<OpId>,
    /// What it does.
    pub verb: Verb,
}

/// A boot that goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RunningVm {
    /// The program that runs it.
    pub vmm: VmmKind,
    /// How guest instructions are executed.
    pub accel: Accel,
    /// Why this VMM was chosen, in one line.
    pub reason: String,
    /// The VMM's process.
    pub pid: u32,
    /// Milliseconds since the epoch.
    pub started_ms: u64,
    /// The guest kernel's release.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kernel_release: String,
    /// `/proc/sys/kernel/random/boot_id` of the guest.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub boot_id: String,
    /// It is to have a network, but the process that was its network has ended and no other could be started yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub offline: bool,
    /// What did not go well in the guest or with its network but did not stop it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// How and when a boot ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct BootEnd {
    /// Milliseconds since the epoch.
    pub at_ms: u64,
    /// Which boot, counted from 1.
    pub boot: u32,
    /// Why.
    pub reason: EndReason,
}

/// Why a boot ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum EndReason {
    /// The user stopped it, and the guest ended in order.
    Stopped,
    /// The user killed it, or it had to be after a stop ran out of time.
    Killed,
    /// The guest powered off by itself.
    PoweredOff,
    /// The guest's kernel panicked.
    Panicked {
        /// The kernel's words.
        message: String,
    },
    /// It never became ready.
    NeverReady {
        /// Why.
        message: String,
    },
    /// The VMM died, or the host did, and nobody saw why.
    Lost,
}

/// All VMs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct VmList {
    /// Sorted by name.
    pub vms: Vec<VmView>,
}

/// What a prune would remove: every VM that is stopped and that nothing is under way on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PruneList {
    /// Sorted by name.
    pub vms: Vec<PrunableVm>,
}

/// A stopped VM and the room it takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PrunableVm {
    /// Its identity: a delete that names it cannot hit another VM of the same name.
    pub id: VmId,
    /// Its name.
    pub name: VmName,
    /// Milliseconds since the epoch.
    pub created_ms: u64,
    /// When its last boot ended, in milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<u64>,
    /// What its disks and logs take of the host's disk, in bytes.
    pub used: ByteSize,
}
