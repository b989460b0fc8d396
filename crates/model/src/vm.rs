//! The life of a VM: what the user wants, what is under way, what the host shows, and what follows from these.
//!
//! ```text
//!            create              start
//!   absent ─────────► stopped ◄────────► running
//!          ◄─────────          stop, kill    │
//!            delete ◄────────────────────────┘ delete (of a running VM: only when forced)
//! ```
//! [`Status`] is never stored: it is [`status`] of three facts, so it cannot disagree with them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What the user wants of a VM. The order is the order in which host resources are built up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Target {
    /// Nothing of it on the host.
    Absent,
    /// Its disks exist, nothing runs.
    Stopped,
    /// It runs and its agent answers.
    Running,
}

/// What a user does to a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Verb {
    /// Make its disks.
    Create,
    /// Boot it.
    Start,
    /// End it in order, within a bound.
    Stop,
    /// Stop, then start: a new boot.
    Restart,
    /// End its VMM at once.
    Kill,
    /// Remove all of it.
    Delete,
}

impl Verb {
    /// Every verb, for tests that go through all of them.
    pub const ALL: [Self; 6] = [Self::Create, Self::Start, Self::Stop, Self::Restart, Self::Kill, Self::Delete];
}

/// Whether an operation still builds up, or takes down what it built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Direction {
    /// Towards what the verb is for.
    Forward,
    /// Back, after a failure.
    Unwinding,
}

/// The one operation that may be open on a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct OpenOperation {
    /// What it does.
    pub verb: Verb,
    /// Which way it is going.
    pub direction: Direction,
}

/// What the host shows of one VM, as far as its status depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Observed {
    /// Everything that a stopped VM owns is there.
    pub at_rest_complete: bool,
    /// Anything that only a running VM owns is there.
    pub runtime_present: bool,
    /// Its VMM is alive, its identity proved.
    pub vmm_alive: bool,
}

/// What people are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Status {
    /// A create is under way.
    Creating,
    /// A start is under way.
    Starting,
    /// It runs.
    Running,
    /// A stop or kill is under way.
    Stopping,
    /// A restart is under way.
    Restarting,
    /// It is at rest.
    Stopped,
    /// A delete is under way.
    Deleting,
    /// The host does not show what it should and no operation is mending it: only show, logs, stop, kill and delete work.
    Degraded,
}

/// A verb that does not fit the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Another operation is open; the verb may be tried again after it.
    #[error("it is {0}")]
    Busy(Status),
    /// The verb would change nothing.
    #[error("it is already {0}")]
    Already(Status),
    /// The verb needs another status first.
    #[error("it is {0}")]
    Unfit(Status),
}

/// The one definition of a VM's status.
pub fn status(target: Target, open: Option<OpenOperation>, observed: Observed) -> Status {
    if let Some(OpenOperation { verb, direction }) = open {
        return match (verb, direction) {
            (Verb::Create, Direction::Forward) => Status::Creating,
            (Verb::Create, Direction::Unwinding) | (Verb::Delete, _) => Status::Deleting,
            (Verb::Start, Direction::Forward) => Status::Starting,
            (Verb::Restart, Direction::Forward) => Status::Restarting,
            (Verb::Start | Verb::Restart, Direction::Unwinding) | (Verb::Stop | Verb::Kill, _) => Status::Stopping,
        };
    }
    match target {
        Target::Running if observed.vmm_alive && observed.at_rest_complete => Status::Running,
        Target::Stopped if observed.at_rest_complete && !observed.runtime_present => Status::Stopped,
        Target::Absent | Target::Stopped | Target::Running => Status::Degraded,
    }
}

/// Whether a verb may begin.
///
/// # Errors
/// The typed reason why it may not. [`Denied::Already`] is not a failure of what the user wanted.
pub fn admit(verb: Verb, status: Status) -> Result<(), Denied> {
    use Status::{Creating, Degraded, Deleting, Restarting, Running, Starting, Stopped, Stopping};
    match (verb, status) {
        (_, Creating | Starting | Stopping | Restarting | Deleting) => Err(Denied::Busy(status)),
        (Verb::Start, Stopped) | (Verb::Restart, Running | Stopped) => Ok(()),
        (Verb::Stop | Verb::Kill, Running | Degraded) => Ok(()),
        (Verb::Delete, Stopped | Running | Degraded) => Ok(()),
        (Verb::Start, Running) | (Verb::Stop | Verb::Kill, Stopped) => Err(Denied::Already(status)),
        (Verb::Create, _) | (Verb::Start | Verb::Restart, Degraded) => Err(Denied::Unfit(status)),
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Creating => "creating",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Restarting => "restarting",
            Self::Stopped => "stopped",
            Self::Deleting => "deleting",
            Self::Degraded => "degraded",
        })
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Create => "create",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Kill => "kill",
            Self::Delete => "delete",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUSES: [Status; 8] = [
        Status::Creating,
        Status::Starting,
        Status::Running,
        Status::Stopping,
        Status::Restarting,
        Status::Stopped,
        Status::Deleting,
        Status::Degraded,
    ];

    /// Every pair, spelt out: `+` admitted, `=` already so, `b` busy, `-` unfit.
    #[test]
    fn all_pairs_of_verb_and_status() {
        let table = [
            // creating starting running stopping restarting stopped deleting degraded
            (Verb::Create, "bb-bb-b-"),
            (Verb::Start, "bb=bb+b-"),
            (Verb::Stop, "bb+bb=b+"),
            (Verb::Restart, "bb+bb+b-"),
            (Verb::Kill, "bb+bb=b+"),
            (Verb::Delete, "bb+bb+b+"),
        ];
        for (verb, row) in table {
            let got: String = STATUSES
                .iter()
                .map(|status| match admit(verb, *status) {
                    Ok(()) => '+',
                    Err(Denied::Already(_)) => '=',
                    Err(Denied::Busy(_)) => 'b',
                    Err(Denied::Unfit(_)) => '-',
                })
                .collect();
            assert_eq!(got, row, "{verb}");
        }
    }

    #[test]
    fn no_verb_is_left_out_of_the_list() {
        for (index, verb) in Verb::ALL.into_iter().enumerate() {
            // Whoever adds a verb is led here by the compiler, and from here to the list.
            let place = match verb {
                Verb::Create => 0,
                Verb::Start => 1,
                Verb::Stop => 2,
                Verb::Restart => 3,
                Verb::Kill => 4,
                Verb::Delete => 5,
            };
            assert_eq!(place, index);
        }
    }

    #[test]
    fn an_open_operation_decides_the_status_whatever_the_host_shows() {
        for verb in Verb::ALL {
            for direction in [Direction::Forward, Direction::Unwinding] {
                for bits in 0..8u8 {
                    let observed = Observed {
                        at_rest_complete: bits & 1 != 0,
                        runtime_present: bits & 2 != 0,
                        vmm_alive: bits & 4 != 0,
                    };
                    let open = Some(OpenOperation { verb, direction });
                    let shown = status(Target::Stopped, open, observed);
                    assert!(matches!(admit(Verb::Start, shown), Err(Denied::Busy(_))), "{verb} {direction:?}: {shown}");
                }
            }
        }
    }

    #[test]
    fn without_an_operation_the_host_must_show_what_is_wanted() {
        let at_rest = Observed { at_rest_complete: true, ..Observed::default() };
        let running = Observed { at_rest_complete: true, runtime_present: true, vmm_alive: true };
        assert_eq!(status(Target::Stopped, None, at_rest), Status::Stopped);
        assert_eq!(status(Target::Running, None, running), Status::Running);
        assert_eq!(status(Target::Stopped, None, running), Status::Degraded);
        assert_eq!(status(Target::Running, None, at_rest), Status::Degraded);
        assert_eq!(status(Target::Stopped, None, Observed::default()), Status::Degraded);
        assert_eq!(status(Target::Absent, None, Observed::default()), Status::Degraded);
    }
}
