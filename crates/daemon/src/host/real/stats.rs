//! What a running VM uses.

use super::{RealHost, machine::DISKS, places::Places};
use crate::host::{Usage, UsageError};
use banger_model::{
    ByteSize, VmId,
    api::stats::{DiskStats, GuestMemoryStats, StreamStats},
    host_name::VmFile,
    spec::VmmKind,
};
use banger_vmm::{CounterFiles, GuestUsage, StatsError, Vmm};
use std::{os::unix::fs::MetadataExt, time::Duration};

/// Firecracker's counters are added up when they take more than this of the disk, in bytes, although nobody asks for them.
const COUNTERS: u64 = 256 << 10;

/// A VMM that has ended while it was asked is gone, and that is no defect of anybody's.
pub(super) fn unless_gone(vmm: &Vmm, error: StatsError) -> UsageError {
    if vmm.is_alive() { UsageError::Stats(error) } else { UsageError::Gone }
}

impl RealHost {
    /// Processor time now, and the rest.
    pub(super) async fn usage_of(&self, vmm: &Vmm, id: VmId) -> Result<Usage, StatsError> {
        let host = vmm.host_usage().await?;
        let guest = match vmm.guest_usage(&files(&self.places, id)).await {
            Ok(guest) => guest,
            // A VMM that stands still uses memory and time, too, and that is worth knowing then.
            Err(error) if vmm.is_alive() => {
                tracing::warn!(vm = %id, error = &error as &dyn std::error::Error, "the VMM does not tell what its guest uses");
                GuestUsage::default()
            }
            Err(error) => return Err(error),
        };
        let memory = guest.memory.map(|memory| GuestMemoryStats {
            total: memory.total,
            used: ByteSize(memory.total.0.saturating_sub(memory.available.0)),
            caches: memory.caches,
        });
        let disks = DISKS.iter().zip(guest.disks).map(|(name, disk)| DiskStats {
            name: (*name).into(),
            read: disk.read,
            written: disk.written,
            reads: disk.reads,
            writes: disk.writes,
        });
        let vsock = guest.vsock.map(|v| StreamStats { to_guest: v.to_guest, from_guest: v.from_guest });
        Ok(Usage { host, guest: memory, disks: disks.collect(), vsock })
    }

    /// Processor time of the VM's VMM.
    pub(super) async fn processor_time_of(&self, vmm: &Vmm) -> Result<Duration, StatsError> {
        Ok(vmm.host_usage().await?.cpu)
    }

    /// Adds up the counters of those VMs that have counted much since somebody looked.
    pub(super) async fn add_counters_up(&self) {
        for id in self.vmms.ids() {
            let files = files(&self.places, id);
            let large = std::fs::metadata(&files.metrics).is_ok_and(|meta| meta.blocks() * 512 > COUNTERS);
            let Some(vmm) =
                self.vmms.last(id).filter(|vmm| large && vmm.record().engine.kind() == VmmKind::Firecracker)
            else {
                continue;
            };
            if let Err(error) = vmm.add_up(&files).await {
                self.complaints.tell(files.metrics, &error);
            }
        }
    }
}

fn files(places: &Places, id: VmId) -> CounterFiles {
    CounterFiles { metrics: places.file(id, VmFile::Metrics), total: places.file(id, VmFile::MetricsTotal) }
}
