//! `/machine-config`: processors and memory.

use serde::Serialize;

/// `MachineConfiguration`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MachineConfiguration {
    /// Virtual CPUs, 1 to 32.
    pub vcpu_count: u32,
    /// Guest memory in MiB.
    pub mem_size_mib: u64,
}
