//! Whether this kernel can confine VMMs: what a guest that takes its VMM over could do then.

use super::{pass, warn};
use banger_model::api::doctor::Check;
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

#[cfg(test)]
mod tests {
    use super::*;
    use banger_model::api::doctor::Outcome;

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
