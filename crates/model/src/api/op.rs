//! Operations and what is heard of them while they run.

use super::{
    doctor::{Check, DoctorReport},
    error::ErrorBody,
    image::{ImageView, KernelView},
    vm::VmView,
};
use crate::{ByteSize, OpId, VmName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One line of a running operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum OpEvent {
    /// Always first.
    Begun {
        /// Its id; none from a daemon that has no ids.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        op: Option<OpId>,
        /// What it does to what, like `create box`.
        what: String,
    },
    /// What the VM will be made of, as soon as that is decided: before anything is fetched.
    Plan(VmPlan),
    /// Another stage begins.
    Stage(StageEvent),
    /// How far the stage is.
    Progress {
        /// Bytes (or steps) done.
        done: u64,
        /// Of so many, when that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
    },
    /// What an examination of the host found, as soon as it is known.
    Check(Check),
    /// Something the user should know, which stops nothing.
    Note {
        /// One line.
        text: String,
    },
    /// Always last of a success.
    Done {
        /// What it left.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<Box<OpResult>>,
    },
    /// Always last of a failure.
    Failed {
        /// Why.
        error: ErrorBody,
    },
}

/// The sizes of a VM that is about to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct VmPlan {
    /// Its name.
    pub name: VmName,
    /// Virtual CPUs.
    pub vcpu: u32,
    /// Memory in bytes.
    pub memory: ByteSize,
    /// Size of its disks in bytes.
    pub disk: ByteSize,
}

/// A named stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct StageEvent {
    /// Which.
    pub stage: Stage,
    /// What it is about, like an image's reference.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// The stages of all operations, in the order in which they can come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Stage {
    /// Waiting for another operation on the same thing.
    Wait,
    /// Asking the source what it has.
    Resolve,
    /// Fetching an image.
    Fetch,
    /// Building an image from a recipe.
    Build,
    /// Turning layers into a file system.
    Convert,
    /// Fetching or reading a kernel.
    Kernel,
    /// Finding out which VMM works here.
    Probe,
    /// Making the VM's disks.
    Disks,
    /// Starting the VMM.
    Vmm,
    /// Setting up its network.
    Network,
    /// Waiting for the agent in the guest.
    Boot,
    /// Asking the guest to end.
    Shutdown,
    /// Taking down what is no longer needed.
    Remove,
}

/// What an operation left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum OpResult {
    /// The VM as it is now.
    Vm(VmView),
    /// The image.
    Image(ImageView),
    /// The kernel.
    Kernel(KernelView),
    /// All that an examination of the host found.
    Doctor(DoctorReport),
}

/// An operation that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct OperationView {
    /// Its id.
    pub op: OpId,
    /// What it does to what.
    pub what: String,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<StageEvent>,
    /// Milliseconds since the epoch.
    pub begun_ms: u64,
}

/// All that are open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct OperationList {
    /// Oldest first.
    pub operations: Vec<OperationView>,
}

/// What was logged for one operation, by whichever process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct OpLog {
    /// In the order in which it happened.
    pub records: Vec<LogRecord>,
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LogRecord {
    /// RFC 3339, in UTC, with microseconds; empty for a line that has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub timestamp: String,
    /// `ERROR`, `WARN`, `INFO`, `DEBUG` or `TRACE`; empty for a line that has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub level: String,
    /// Whose line it is: `bangerd`, or `banger-usernet` and the VM's id.
    #[serde(default)]
    pub process: String,
    /// What happened.
    #[serde(default)]
    pub message: String,
    /// All else that the line says, by name.
    #[serde(flatten)]
    #[cfg_attr(feature = "schema", schema(value_type = Object))]
    pub fields: BTreeMap<String, serde_json::Value>,
}
