//! `/balloon`: the device through which a guest gives memory back, and tells how much it uses.

use serde::{Deserialize, Serialize};

/// `Balloon`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Balloon {
    /// How much the guest is to give back, in MiB.
    pub amount_mib: u64,
    /// Whether it may take memory back when it would have to kill a process otherwise.
    pub deflate_on_oom: bool,
    /// How often the guest tells of its memory, in seconds. It never does when left out, and nothing changes that later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stats_polling_interval_s: Option<u16>,
}

/// `BalloonStats`, as far as we use it: what the guest last said of its memory. Fields that the guest's kernel does not know,
/// or has not told yet, are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub struct BalloonStats {
    /// What the guest has given back, in MiB.
    pub actual_mib: u64,
    /// All of the guest's memory, in bytes.
    pub total_memory: Option<u64>,
    /// What nobody uses for anything, in bytes.
    pub free_memory: Option<u64>,
    /// What programs could have without swapping, in bytes.
    pub available_memory: Option<u64>,
    /// What caches files, in bytes.
    pub disk_caches: Option<u64>,
}
