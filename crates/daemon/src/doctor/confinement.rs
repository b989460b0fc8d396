//! Whether VMMs can be confined here: what a guest that takes its VMM over could do then, and how much of the host it could take.

use super::{pass, warn};
use crate::{App, verbs::chain};
use banger_model::api::doctor::Check;
use banger_vmm::confine::cgroup::{Groups, NoGroups};
use banger_vmm::confine::group_limits::Controller;
use banger_vmm::confine::{Support, support};

/// What the kernel has for it.
pub(super) fn walls() -> Check {
    judge(support())
}

/// From this version on Landlock knows all that is asked of it.
const COMPLETE: u32 = 6;

fn judge(support: Support) -> Check {
    let name = "confinement of VMMs";
    match support {
        Support { landlock: Some(version), seccomp: true } if version >= COMPLETE => {
            pass(name, format!("Landlock (ABI {version}) and seccomp"))
        }
        Support { landlock: Some(version), seccomp: true } => {
            pass(name, format!("Landlock (ABI {version}); what later ones add, seccomp refuses as well"))
        }
        Support { landlock: None, .. } => warn(
            name,
            "this kernel has no Landlock, or it is switched off: a guest that takes its VMM over could use your files",
            "run a kernel of 5.13 or later with CONFIG_SECURITY_LANDLOCK, and with `landlock` in `lsm=` if its command line has that",
        ),
        Support { seccomp: false, .. } => warn(
            name,
            "this kernel or container has no seccomp filters: a guest that takes its VMM over could connect to your programs",
            "run a kernel with CONFIG_SECCOMP_FILTER",
        ),
    }
}

/// How the daemon is started so that it has a group to share out, and its VMs outlive it there.
const WITH_A_GROUP: &str = "end the daemon with `banger daemon stop`, then start it with `systemd-run --user -p Delegate=yes -p KillMode=process \
                            $(command -v bangerd) run`";
/// How an ordinary user's share of the tree gets what systemd leaves out.
const ALL_CONTROLLERS: &str = "as root, run `systemctl edit user@.service`, set `Delegate=cpu cpuset io memory pids` below `[Service]`, and log in again";

/// Whether a VM can be kept from taking all processors or more memory than it was given.
pub(super) fn limits(app: &App) -> Check {
    judge_groups(app.host.groups())
}

fn judge_groups(groups: Result<&Groups, &NoGroups>) -> Check {
    let name = "limits of VMs";
    let groups = match groups {
        Ok(groups) => groups,
        Err(why @ NoGroups::NoTree) => {
            return warn(
                name,
                format!("none: {}", chain(why)),
                "boot the host with `systemd.unified_cgroup_hierarchy=1`",
            );
        }
        Err(why) => return warn(name, format!("none: {}", chain(why)), WITH_A_GROUP),
    };
    let (there, missing): (Vec<_>, Vec<_>) =
        Controller::ALL.into_iter().partition(|c| groups.controllers().contains(c));
    let names =
        |controllers: Vec<Controller>| controllers.into_iter().map(Controller::name).collect::<Vec<_>>().join(", ");
    let detail = format!("{} by control groups in {}", names(there), groups.base().display());
    match missing.is_empty() {
        true => pass(name, detail),
        false => warn(name, format!("{detail}, but not {}", names(missing)), ALL_CONTROLLERS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_model::api::doctor::Outcome;

    #[test]
    fn without_control_groups_there_is_a_way_to_them() {
        for why in [NoGroups::NoTree, NoGroups::NotOurs { path: "/x".into() }, NoGroups::Shared { path: "/x".into() }] {
            let check = judge_groups(Err(&why));
            assert_eq!(check.outcome, Outcome::Warn, "{check:?}");
            assert!(check.fix.is_some() && check.detail.contains(&why.to_string()), "{check:?}");
        }
    }

    #[test]
    fn what_is_missing_is_a_warning_with_a_way_out() {
        for (landlock, seccomp, outcome) in [
            (Some(7), true, Outcome::Pass),
            (Some(1), true, Outcome::Pass),
            (None, true, Outcome::Warn),
            (Some(7), false, Outcome::Warn),
            (None, false, Outcome::Warn),
        ] {
            let check = judge(Support { landlock, seccomp });
            assert_eq!(check.outcome, outcome, "{check:?}");
            assert_eq!(check.fix.is_some(), outcome == Outcome::Warn, "{check:?}");
        }
    }
}
