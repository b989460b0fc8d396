//! What a process of a VM may still do once it runs: little more than its work.
//!
//! Owns: the plan of that ([`grants`], [`calls`], [`limits`]: pure), turning it into what the kernel takes (before the fork) and
//! entering it (between fork and exec, where nothing may be allocated). Must not touch: how processes are started
//! ([`crate::spawn`] calls [`Ready::enter`]) and what the VMMs do on their own: Firecracker's seccomp filter and QEMU's
//! `-sandbox` come on top.
//!
//! Three walls for a VMM, each for what the others cannot stop:
//! - *Landlock*: which files it may open, make and remove; no TCP; signals and abstract sockets end at its own domain. A kernel
//!   without it ([`support`]) leaves that wall out, which is logged and told by `doctor`.
//! - *seccomp*: what Landlock does not see: connecting to sockets by their path, changing files' modes and owners, new
//!   processes, the System V objects and keys that all processes of a user share, signals on kernels whose Landlock lets them pass.
//! - *no capabilities*, also when root starts it.
//!
//! How much it may take is limited by [`limits`], and by its control group ([`cgroup`]) where the user has such.

pub(crate) mod calls;
pub mod cgroup;
mod enter;
mod filter;
mod grants;
pub mod group_limits;
pub(crate) mod limits;
mod program;
mod rules;

pub(crate) use enter::Ready;
pub use enter::{Support, support};

use crate::config::VmmConfig;
use calls::Rule;
use grants::Grant;
use limits::Limits;

/// A process that cannot be confined as it should be.
#[derive(Debug, thiserror::Error)]
#[error("the kernel takes no Landlock rules")]
pub struct ConfineError(#[from] landlock::RulesetError);

/// What a process may do.
#[derive(Debug)]
pub(crate) struct Confinement {
    /// The walls of a VMM; none for a companion, which builds its own.
    walls: Option<Walls>,
    limits: Limits,
}

#[derive(Debug)]
struct Walls {
    grants: Vec<Grant>,
    calls: Vec<Rule>,
}

impl Confinement {
    /// Of the VMM of such a VM. Reads the beginning of its program's file.
    pub(crate) fn of_vmm(config: &VmmConfig) -> Self {
        let grants = grants::of(config, &program::interpreters(&config.binary.path));
        Self { walls: Some(Walls { grants, calls: calls::of(config.engine.kind()) }), limits: Limits::of_vmm() }
    }

    /// Of a process beside a VMM. It confines itself, as it knows when it has what it needs.
    pub(crate) fn of_companion() -> Self {
        Self { walls: None, limits: Limits::of_companion() }
    }

    /// Everything that has to be allocated, opened and decided for [`Ready::enter`].
    pub(crate) fn prepare(self) -> Result<Ready, ConfineError> {
        let support = support();
        let (mut ruleset, mut filter) = (None, None);
        if let Some(walls) = &self.walls {
            ruleset = rules::ruleset(&walls.grants)?;
            filter = support.seccomp.then(|| filter::compile(&walls.calls));
            if ruleset.is_none() || filter.is_none() {
                enter::complain_once(support);
            }
        }
        Ok(Ready::new(ruleset, filter, self.walls.is_some(), self.limits))
    }
}
