//! `/drives/ID`: a block device.

use super::RateLimiter;
use serde::Serialize;
use std::path::PathBuf;

/// `Drive`, of the kind that is a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Drive {
    /// Letters, digits and underscores; also in the path.
    pub drive_id: String,
    /// The file or block device. A path that is not UTF-8 cannot be said.
    pub path_on_host: PathBuf,
    /// Whether the kernel's command line is to name it as its root.
    pub is_root_device: bool,
    /// Whether the guest can only read it; then the file is opened for reading only.
    pub is_read_only: bool,
    /// What a flush of the guest's does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_type: Option<CacheType>,
    /// How fast it may be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limiter: Option<RateLimiter>,
}

/// What a flush of the guest's does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum CacheType {
    /// It is answered and not done.
    Unsafe,
    /// The file is synced.
    Writeback,
}
