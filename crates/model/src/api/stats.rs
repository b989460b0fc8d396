//! What a running VM uses.

use crate::{ByteSize, VmId, VmName};
use serde::{Deserialize, Serialize};

/// What a VM uses of the host, and what its guest says and does. Sums begin with the VM's boot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct VmStats {
    /// Its identity.
    pub id: VmId,
    /// Its name.
    pub name: VmName,
    /// When this was so, in milliseconds since the epoch.
    pub at_ms: u64,
    /// How long it has run, in milliseconds.
    pub uptime_ms: u64,
    /// The host's processors.
    pub cpu: CpuStats,
    /// Memory.
    pub memory: MemoryStats,
    /// Its disks; none when the VMM does not tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<DiskStats>,
    /// What went through Firecracker's vsock, which carries commands, copies and shells. QEMU does not count it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vsock: Option<StreamStats>,
}

/// Processor time of the VMM, which is the guest's and that of its devices.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct CpuStats {
    /// Milliseconds of processor time since the boot.
    pub used_ms: u64,
    /// Of one of the host's processors, over the interval that was asked for: 200 is two processors busy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MemoryStats {
    /// What the guest may have at most.
    pub assigned: ByteSize,
    /// What the VMM has of the host's memory, pages that it shares with others included.
    pub resident: ByteSize,
    /// The same with each shared page divided by the number of those who share it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proportional: Option<ByteSize>,
    /// What the guest's kernel said of it within the last seconds; none before it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<GuestMemoryStats>,
}

/// A guest's memory as its kernel counts it, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct GuestMemoryStats {
    /// All that the kernel manages.
    pub total: ByteSize,
    /// What is in use: the total without what programs could still have.
    pub used: ByteSize,
    /// What caches files; most of it could be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caches: Option<ByteSize>,
}

/// What went through a disk since the boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DiskStats {
    /// `image` and `modules`, which VMs share, `layer`, on which changes of the image go, or `work`, which is `/root`.
    pub name: String,
    /// Bytes that the guest read.
    pub read: ByteSize,
    /// Bytes that the guest wrote.
    pub written: ByteSize,
    /// How many reads that took.
    pub reads: u64,
    /// How many writes that took.
    pub writes: u64,
}

/// What went through a stream since the boot, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct StreamStats {
    /// From the host to the guest.
    pub to_guest: ByteSize,
    /// From the guest to the host.
    pub from_guest: ByteSize,
}
