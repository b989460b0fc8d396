//! What this host can and cannot do.
//!
//! `GET` looks and answers at once; `POST` is an operation that tells each [`Check`] as an event, boots a throwaway VM as the
//! last of them, and leaves the [`DoctorReport`]. That VM goes away with the operation, whatever becomes of the client.

use serde::{Deserialize, Serialize};

/// The outcome of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Outcome {
    /// As it should be.
    Pass,
    /// Something is slower or not to be had.
    Warn,
    /// VMs cannot run.
    Fail,
}

/// One tool, device, permission or setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// How it is.
    pub outcome: Outcome,
    /// What was seen.
    pub detail: String,
    /// What to do, unless it passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// All checks. That some failed is no failure of the examination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DoctorReport {
    /// In a sensible order of reading.
    pub checks: Vec<Check>,
}
