//! What a client is told when something did not work.

use crate::{OpId, VmName};
use serde::{Deserialize, Serialize};

/// Every kind of failure a client may want to tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum ErrorCode {
    /// The request does not parse or has values out of bounds.
    BadRequest,
    /// Another user's daemon.
    Forbidden,
    /// No such path in this version of the API.
    UnknownRoute,
    /// The daemon does not speak the version asked for.
    UnsupportedVersion,
    /// No VM of that name.
    VmNotFound,
    /// A VM of that name exists.
    VmNameTaken,
    /// The VM's status does not allow it.
    VmStatus,
    /// No image of that name, here or where it was said to be.
    ImageNotFound,
    /// The image is there but cannot be used.
    ImageInvalid,
    /// The image's source did not answer as it should.
    ImageUnavailable,
    /// VMs need the image or kernel.
    InUse,
    /// No kernel of that name.
    KernelNotFound,
    /// The kernel is there but cannot be used.
    KernelInvalid,
    /// The kernel's source did not answer as it should.
    KernelUnavailable,
    /// The name is taken by another image or kernel.
    NameTaken,
    /// A tool, device or permission is missing on this host.
    HostUnfit,
    /// The host has not enough memory or disk.
    NoRoom,
    /// The VMM did not do its part.
    VmmFailed,
    /// The guest did not come up.
    BootFailed,
    /// The guest's kernel panicked.
    GuestPanic,
    /// The agent in the guest does not answer, or refused.
    Guest,
    /// The command was not found in the guest.
    CommandNotFound,
    /// The command cannot be executed in the guest.
    CommandNotExecutable,
    /// Somebody asked for it to end.
    Cancelled,
    /// The daemon is stopping.
    ShuttingDown,
    /// A defect of ours.
    Internal,
}

/// A failure: what happened to what, why, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ErrorBody {
    /// Its kind.
    pub code: ErrorCode,
    /// What happened, naming the subject.
    pub message: String,
    /// Why, outermost cause first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// What to do about it, where that is known better than the code tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// The operation, as in the logs; none from a daemon that has no ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op: Option<OpId>,
    /// The last lines of the guest's console, when it had a part in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub console: Vec<String>,
    /// The VMs concerned, such as those that still use an image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vms: Vec<VmName>,
}
