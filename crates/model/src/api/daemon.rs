//! The daemon about itself.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What it is and where it keeps things.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DaemonInfo {
    /// Its version.
    pub version: String,
    /// The versions of the API that it speaks.
    pub api: Vec<String>,
    /// Its process.
    pub pid: u32,
    /// Milliseconds since the epoch.
    pub started_ms: u64,
    /// The socket that answered.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub socket: PathBuf,
    /// Its own log.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub log: PathBuf,
    /// Images and kernels.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub data_dir: PathBuf,
    /// VMs and the database.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub state_dir: PathBuf,
    /// The configuration, whether or not it exists.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub config: PathBuf,
    /// All VMs on record.
    pub vms: u64,
    /// Those that run.
    pub running: u64,
}
