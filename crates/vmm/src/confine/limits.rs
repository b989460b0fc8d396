//! How much of the host's tables a process of a VM may take, and who goes first when memory runs out.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;

/// Descriptors of a VMM: its disks, eventfds and one for each connection to its guest.
const VMM_FILES: u64 = 4096;
/// Bytes that it may keep from being swapped: what libraries for secrets want at their start.
const VMM_LOCKED: u64 = 1 << 20;

/// The score that makes the kernel end a VMM before anything of comparable size, and long before the daemon: half of the
/// host's memory is added to what it takes (`/proc/PID/oom_score_adj`, up to 1000).
const VMM_OOM: i32 = 500;
/// Ending these gives hardly any memory back and takes a guest's network: after the VMMs.
const COMPANION_OOM: i32 = 400;

/// What a process is limited to. Limits that are lower already stay.
#[derive(Debug)]
pub(crate) struct Limits {
    /// The most of each that it may have; for good.
    most: Vec<(Resource, u64)>,
    oom: i32,
}

impl Limits {
    pub(super) fn of_vmm() -> Self {
        Self {
            most: vec![(Resource::Nofile, VMM_FILES), (Resource::Memlock, VMM_LOCKED), (Resource::Core, 0)],
            oom: VMM_OOM,
        }
    }

    /// A companion serves as many connections as its guest opens, with a descriptor each.
    pub(super) fn of_companion() -> Self {
        Self { most: vec![(Resource::Core, 0)], oom: COMPANION_OOM }
    }

    /// The text for `oom_score_adj`, or none where it is as high already. Raising it takes no rights.
    pub(super) fn oom_score(&self) -> Option<Vec<u8>> {
        let inherited = std::fs::read_to_string("/proc/self/oom_score_adj").ok()?;
        let inherited: i32 = inherited.trim().parse().ok()?;
        (inherited < self.oom).then(|| self.oom.to_string().into_bytes())
    }

    /// Applies the limits to this process. Allocates nothing.
    pub(super) fn apply(&self) -> io::Result<()> {
        for (resource, most) in &self.most {
            let now = getrlimit(*resource);
            // None is no limit.
            let lower = |limit: Option<u64>| Some(limit.map_or(*most, |limit| limit.min(*most)));
            setrlimit(*resource, Rlimit { current: lower(now.current), maximum: lower(now.maximum) })?;
        }
        Ok(())
    }
}
