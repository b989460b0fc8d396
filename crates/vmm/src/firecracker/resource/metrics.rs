//! `/metrics`: where its counters are written.

use serde::Serialize;
use std::path::PathBuf;

/// `Metrics`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Metrics {
    /// A file that exists. It gets a line of JSON each minute and when asked for. A path that is not UTF-8 cannot be said.
    pub metrics_path: PathBuf,
}
