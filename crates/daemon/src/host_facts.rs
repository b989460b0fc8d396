//! What the defaults and limits of VMs depend on.

use banger_model::ByteSize;

/// Measured once, at daemon start.
#[derive(Debug, Clone)]
pub(crate) struct HostFacts {
    /// Processors that we may use.
    pub(crate) cpus: u32,
    /// All memory of the host.
    pub(crate) memory_total: ByteSize,
}

impl HostFacts {
    /// Looks.
    pub(crate) fn measure() -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            cpus: u32::try_from(cpus).unwrap_or(u32::MAX),
            memory_total: meminfo("MemTotal:").unwrap_or(ByteSize::gib(1)),
        }
    }

    /// A quarter of the processors, at most four.
    pub(crate) fn default_vcpu(&self) -> u32 {
        (self.cpus / 4).clamp(1, 4)
    }

    /// An eighth of the memory, at most 8 GiB, at least what a systemd guest wants.
    pub(crate) fn default_memory(&self) -> ByteSize {
        ByteSize::mib((self.memory_total.as_mib() / 8).clamp(512, 8192))
    }

    /// What can be had at this moment without swapping.
    pub(crate) fn memory_available(&self) -> ByteSize {
        meminfo("MemAvailable:").unwrap_or(self.memory_total)
    }
}

/// A line of `/proc/meminfo`, in bytes.
fn meminfo(field: &str) -> Option<ByteSize> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(ByteSize(kib * 1024))
}
