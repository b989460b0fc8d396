//! What a VM uses of the host: processor, memory, and what goes through its devices.
//!
//! Owns: asking `/proc` of its VMM's process, and asking the VMM of its devices. Figures of a VMM come from a process that a
//! guest may have taken over: they are shown and never trusted. Nothing is remembered between two looks, but for the sums
//! of Firecracker's counters ([`counters`]).

pub mod counters;
mod host;

use crate::firecracker::resource::{Action, BalloonStats, Put};
use crate::firecracker::{Api, ApiError};
use crate::process::{Exit, Vmm};
use crate::qemu::qmp::Qmp;
use banger_model::ByteSize;
use banger_model::spec::VmmKind;
use serde_json::{Value, json};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::timeout;

pub use host::HostUsage;

/// How long QEMU may take for all that it is asked.
const QMP_BOUND: Duration = Duration::from_secs(5);
/// What QEMU says of something that the guest does not tell.
const UNTOLD: u64 = u64::MAX;

/// What a guest's devices have done since it was started, and what the guest says of its memory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GuestUsage {
    /// None until the guest's balloon driver has told something.
    pub memory: Option<GuestMemory>,
    /// One for each of [`crate::VmmConfig::disks`], as far as the VMM knows them, in that order.
    pub disks: Vec<DiskUsage>,
    /// What went through the vsock; QEMU has none, and does not count what goes through the port in its place.
    pub vsock: Option<StreamUsage>,
}

/// A guest's memory as its kernel counts it, at most a few seconds ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestMemory {
    /// All that the kernel manages.
    pub total: ByteSize,
    /// What programs could still have, caches included.
    pub available: ByteSize,
    /// What caches files.
    pub caches: Option<ByteSize>,
}

/// What went through a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiskUsage {
    /// Bytes that the guest read.
    pub read: ByteSize,
    /// Bytes that the guest wrote.
    pub written: ByteSize,
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
}

/// What went through a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamUsage {
    /// Bytes from the host to the guest.
    pub to_guest: ByteSize,
    /// Bytes from the guest to the host.
    pub from_guest: ByteSize,
}

/// A VM of which nothing can be told.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message says what it is")]
pub enum StatsError {
    #[error("the VMM is gone: {0}")]
    Gone(Exit),
    #[error("the system does not tell what process {pid} uses")]
    Process { pid: u32, source: io::Error },
    #[error("Firecracker does not tell what its guest uses")]
    Api(#[from] ApiError),
    #[error("Firecracker's counters in {} cannot be added up", path.display())]
    Counters { path: PathBuf, source: io::Error },
    #[error("QEMU does not tell what its guest uses")]
    Qmp(#[source] io::Error),
    #[error("the question was interrupted")]
    Interrupted,
}

/// Where Firecracker's counters are: its own file, which is [`crate::VmmConfig::metrics`], and the sums of it.
#[derive(Debug, Clone)]
pub struct CounterFiles {
    /// What it writes.
    pub metrics: PathBuf,
    /// What that adds up to.
    pub total: PathBuf,
}

impl Vmm {
    /// What the process uses of the host.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn host_usage(&self) -> Result<HostUsage, StatsError> {
        let pid = self.pid();
        let read =
            tokio::task::spawn_blocking(move || HostUsage::of(pid)).await.map_err(|_| StatsError::Interrupted)?;
        // Only as long as the process lives, its number is its own.
        if !self.is_alive() {
            return Err(StatsError::Gone(self.exited().await));
        }
        read.map_err(|source| StatsError::Process { pid, source })
    }

    /// What its guest uses, as its VMM tells. Takes at most some seconds when the VMM stands still.
    ///
    /// # Errors
    /// When the VMM does not tell.
    pub async fn guest_usage(&self, files: &CounterFiles) -> Result<GuestUsage, StatsError> {
        let socket = crate::config::control_socket(&self.record().runtime_dir);
        match self.record().engine.kind() {
            VmmKind::Firecracker => self.firecrackers_guest(&socket, files).await,
            VmmKind::Qemu => match timeout(QMP_BOUND, qemus_guest(&socket)).await {
                Ok(usage) => usage.map_err(StatsError::Qmp),
                Err(_) => Err(StatsError::Qmp(io::ErrorKind::TimedOut.into())),
            },
        }
    }

    async fn firecrackers_guest(&self, socket: &Path, files: &CounterFiles) -> Result<GuestUsage, StatsError> {
        let mut api = Api::of_running(socket).await?;
        // It answers once the line is written.
        api.put(&Put::Action(Action::FlushMetrics)).await?;
        let memory = guest_memory(&api.balloon_stats().await?);
        let total = self.add_up(files).await?;
        Ok(GuestUsage { memory, disks: total.disks(), vsock: Some(total.vsock()) })
    }

    /// Adds what Firecracker has counted since the last time to the sums of it, and lets go of what has been read.
    ///
    /// # Errors
    /// When the files cannot be read or written.
    pub async fn add_up(&self, files: &CounterFiles) -> Result<counters::Total, StatsError> {
        let (owned, identity) = (files.clone(), self.record().identity.clone());
        let work = move || counters::add_up(&owned.metrics, &owned.total, &identity);
        let added = tokio::task::spawn_blocking(work).await.map_err(|_| StatsError::Interrupted)?;
        added.map_err(|source| StatsError::Counters { path: files.metrics.clone(), source })
    }
}

fn guest_memory(stats: &BalloonStats) -> Option<GuestMemory> {
    let total = ByteSize(stats.total_memory?);
    let available = ByteSize(stats.available_memory.or(stats.free_memory)?);
    Some(GuestMemory { total, available, caches: stats.disk_caches.map(ByteSize) })
}

async fn qemus_guest(socket: &Path) -> io::Result<GuestUsage> {
    let mut qmp = Qmp::of_running(socket).await?;
    let disks = disks(&qmp.execute("query-blockstats", json!({ "query-nodes": false })).await?);
    let balloon = json!({ "path": "/machine/peripheral/balloon", "property": "guest-stats" });
    let told = qmp.execute("qom-get", balloon).await?;
    let figure = |name: &str| told["stats"][name].as_u64().filter(|figure| *figure != UNTOLD);
    let memory = guest_memory(&BalloonStats {
        actual_mib: 0,
        total_memory: figure("stat-total-memory"),
        free_memory: figure("stat-free-memory"),
        available_memory: figure("stat-available-memory"),
        disk_caches: figure("stat-disk-caches"),
    });
    Ok(GuestUsage { memory, disks, vsock: None })
}

/// The disks are in the order in which they were on the command line.
fn disks(answer: &Value) -> Vec<DiskUsage> {
    let devices = answer.as_array().into_iter().flatten();
    let usage = devices.map(|device| {
        let figure = |name: &str| device["stats"][name].as_u64().unwrap_or_default();
        DiskUsage {
            read: ByteSize(figure("rd_bytes")),
            written: ByteSize(figure("wr_bytes")),
            reads: figure("rd_operations"),
            writes: figure("wr_operations"),
        }
    });
    usage.collect()
}
