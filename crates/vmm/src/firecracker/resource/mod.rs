//! The resources of Firecracker's API that we use, as types: one file each.
//!
//! Names, spelling and required fields are those of `src/firecracker/swagger/firecracker.yaml` in Firecracker's own source
//! (Swagger 2.0). Every field here means the same in 1.12 to 1.16; fields that we never send are left out. The tests beside
//! this file hold the types against a published copy of that file, and `tests/firecracker_api.rs` against the program
//! itself, which refuses what it does not know.

mod action;
mod balloon;
mod boot_source;
mod drive;
mod entropy;
mod machine_config;
mod metrics;
mod rate_limiter;
#[cfg(test)]
mod tests;
mod vsock;

pub use action::Action;
pub use balloon::{Balloon, BalloonStats};
pub use boot_source::BootSource;
pub use drive::{CacheType, Drive};
pub use entropy::EntropyDevice;
pub use machine_config::MachineConfiguration;
pub use metrics::Metrics;
pub use rate_limiter::{RateLimiter, TokenBucket};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
pub use vsock::Vsock;

/// Everything that is ever `PUT`, each to its own path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[expect(missing_docs, reason = "each is what its type says")]
pub enum Put {
    MachineConfig(MachineConfiguration),
    BootSource(BootSource),
    Drive(Drive),
    Vsock(Vsock),
    Entropy(EntropyDevice),
    Balloon(Balloon),
    Metrics(Metrics),
    Action(Action),
}

impl Put {
    /// Where it goes.
    pub fn path(&self) -> Cow<'static, str> {
        match self {
            Self::MachineConfig(_) => "/machine-config".into(),
            Self::BootSource(_) => "/boot-source".into(),
            Self::Drive(drive) => format!("/drives/{}", drive.drive_id).into(),
            Self::Vsock(_) => "/vsock".into(),
            Self::Entropy(_) => "/entropy".into(),
            Self::Balloon(_) => "/balloon".into(),
            Self::Metrics(_) => "/metrics".into(),
            Self::Action(_) => "/actions".into(),
        }
    }
}

/// What an answer that is no success says: `Error`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Fault {
    /// What is wrong.
    pub(crate) fault_message: String,
}
