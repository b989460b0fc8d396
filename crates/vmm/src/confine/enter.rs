//! The child's half: going behind the walls, between fork and exec; and whether this kernel has them.
//!
//! Everything here is system calls on what [`super::Confinement::prepare`] has made ready: no lock is taken and nothing allocated.

#![allow(unsafe_code)]

use super::filter::Filter;
use super::limits::Limits;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Once;

/// `LANDLOCK_CREATE_RULESET_VERSION` of `linux/landlock.h`.
const VERSION: u32 = 1;

/// A confinement that can be entered.
#[derive(Debug)]
pub(crate) struct Ready {
    ruleset: Option<OwnedFd>,
    filter: Option<Filter>,
    drop_capabilities: bool,
    limits: Limits,
    oom_score: Option<Vec<u8>>,
}

impl Ready {
    pub(super) fn new(
        ruleset: Option<OwnedFd>,
        filter: Option<Filter>,
        drop_capabilities: bool,
        limits: Limits,
    ) -> Self {
        let oom_score = limits.oom_score();
        Self { ruleset, filter, drop_capabilities, limits, oom_score }
    }

    /// Confines the calling process, which has one thread and no new privileges to gain. The filter comes last: it refuses
    /// much of what would follow.
    pub(crate) fn enter(&mut self) -> io::Result<()> {
        self.limits.apply()?;
        if let Some(score) = &self.oom_score {
            let file = openat(CWD, c"/proc/self/oom_score_adj", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
            rustix::io::write(&file, score)?;
        }
        if self.drop_capabilities {
            let none = CapabilitySet::empty();
            set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
        }
        if let Some(ruleset) = &self.ruleset {
            // SAFETY: the call takes a descriptor, which is open, and no flags.
            check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) })?;
        }
        if let Some(filter) = &mut self.filter {
            let program = filter.for_process(std::process::id());
            let len = libc::c_ushort::try_from(program.len()).unwrap_or(0);
            let program = libc::sock_fprog { len, filter: program.as_mut_ptr() };
            // SAFETY: the program is as long as it says, and the kernel copies it during the call.
            check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) })?;
        }
        Ok(())
    }
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Which walls this kernel can build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Support {
    /// The version of its Landlock: 1 for files, 3 for shortening them, 4 for TCP, 5 for devices, 6 for signals. None when it has none, or
    /// when it is switched off.
    pub landlock: Option<u32>,
    /// Filters of system calls.
    pub seccomp: bool,
}

/// Asks the kernel.
pub fn support() -> Support {
    // SAFETY: with this flag the call takes no attributes, and only returns a number.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0, VERSION) };
    let action = libc::SECCOMP_RET_ERRNO;
    // SAFETY: the call reads the one number that it is pointed to.
    let known = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) };
    Support { landlock: u32::try_from(version).ok().filter(|version| *version > 0), seccomp: known == 0 }
}

/// Says once that VMMs are confined less than they should be.
pub(super) fn complain_once(support: Support) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        let Support { landlock, seccomp } = support;
        tracing::warn!(?landlock, seccomp, "this kernel cannot confine VMMs as it should: see `banger doctor`");
    });
}
