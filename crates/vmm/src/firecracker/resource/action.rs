//! `/actions`: what happens at once.

use serde::Serialize;

/// `InstanceActionInfo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "action_type")]
pub enum Action {
    /// Boots the guest. Before it, the machine can be configured; after it, no more.
    InstanceStart,
    /// Writes a line of metrics.
    FlushMetrics,
}
