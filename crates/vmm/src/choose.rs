//! Which VMM runs a VM: pure.
//!
//! [`candidates`] says which uses of KVM have to be proved before a choice, [`crate::prove`] proves them, [`choose`] chooses and gives
//! the reason in one line for the user.

use crate::binary::{Binary, BinaryError, discover};
use crate::config::Engine;
use crate::prove::{Proofs, Unusable, Verdict};
use banger_model::spec::{NetMode, VmmChoice, VmmKind};
use std::ffi::OsStr;
use std::path::PathBuf;

/// What a VM asks of its VMM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// Which program.
    pub vmm: VmmChoice,
    /// Which network; Firecracker has none.
    pub net: NetMode,
}

/// Files that the user named instead of having them looked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overrides {
    /// Firecracker's program.
    pub firecracker: Option<PathBuf>,
    /// QEMU's program.
    pub qemu: Option<PathBuf>,
}

/// The VMM programs of this host, or why there is none.
#[derive(Debug)]
pub struct Programs {
    /// Firecracker.
    pub firecracker: Result<Binary, BinaryError>,
    /// QEMU.
    pub qemu: Result<Binary, BinaryError>,
}

impl Programs {
    /// Looks for both, in the files named or else in `search_path` (written like `PATH`).
    pub async fn discover(overrides: &Overrides, search_path: &OsStr) -> Self {
        let (firecracker, qemu) = tokio::join!(
            discover(VmmKind::Firecracker, overrides.firecracker.as_deref(), search_path),
            discover(VmmKind::Qemu, overrides.qemu.as_deref(), search_path),
        );
        Self { firecracker, qemu }
    }

    fn of(&self, engine: Engine) -> Option<&Binary> {
        match engine.kind() {
            VmmKind::Firecracker => self.firecracker.as_ref().ok(),
            VmmKind::Qemu => self.qemu.as_ref().ok(),
        }
    }
}

/// A VMM for a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What runs it.
    pub engine: Engine,
    /// Its program.
    pub binary: Binary,
    /// Why, in one line for the user.
    pub reason: String,
}

/// No VMM for a VM. The message says what to do.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message says what it is")]
pub enum ChooseError {
    #[error(transparent)]
    Program(BinaryError),
    #[error("Firecracker needs KVM, and {0}")]
    NeedsKvm(Unusable),
    #[error("Firecracker has no user-mode network: use --net none, or --vmm qemu")]
    NoUserNet,
    /// Firecracker is there, KVM is not, and QEMU, which does without, is not either.
    #[error("Firecracker needs KVM, and {kvm}; nor is there QEMU, which can do without")]
    NeitherKvmNorQemu { kvm: Unusable, source: BinaryError },
}

/// The ways to use KVM that this wish admits, best first: all of them are to be proved before [`choose`] is called.
pub fn candidates(wish: Wish, programs: &Programs) -> Vec<(Engine, Binary)> {
    let firecracker = wish.vmm != VmmChoice::Qemu && wish.net == NetMode::None;
    let qemu = wish.vmm != VmmChoice::Firecracker;
    [(firecracker, Engine::Firecracker), (qemu, Engine::QemuKvm)]
        .into_iter()
        .filter(|(admitted, _)| *admitted)
        .filter_map(|(_, engine)| Some((engine, programs.of(engine)?.clone())))
        .collect()
}

/// Chooses. A use of KVM that is not among `proofs` counts as not proved.
///
/// # Errors
/// When nothing here can run such a VM.
pub fn choose(wish: Wish, programs: Programs, proofs: &Proofs) -> Result<Choice, ChooseError> {
    if wish.vmm == VmmChoice::Firecracker && wish.net == NetMode::User {
        return Err(ChooseError::NoUserNet);
    }
    let admitted = candidates(wish, &programs);
    let mut unusable = None;
    for (engine, binary) in admitted {
        match proofs.of(engine) {
            Some(Verdict::Works) => {
                let reason = reason_for_kvm(engine, wish, &programs, &binary);
                return Ok(Choice { engine, binary, reason });
            }
            Some(Verdict::Unusable(why)) => unusable = unusable.or(Some(why.clone())),
            None => {}
        }
    }
    let unusable = unusable.unwrap_or(Unusable::Unproved);
    match (wish.vmm, programs.firecracker, programs.qemu) {
        (VmmChoice::Firecracker, Ok(_), _) => Err(ChooseError::NeedsKvm(unusable)),
        (VmmChoice::Firecracker, Err(missing), _) => Err(ChooseError::Program(missing)),
        (VmmChoice::Auto | VmmChoice::Qemu, _, Ok(binary)) => Ok(Choice {
            engine: Engine::QemuTcg,
            binary,
            reason: format!(
                "KVM cannot be used, so QEMU emulates the processor, which is slow: {}",
                unusable.in_short()
            ),
        }),
        (VmmChoice::Auto, Ok(_), Err(source)) if wish.net == NetMode::None => {
            Err(ChooseError::NeitherKvmNorQemu { kvm: unusable, source })
        }
        (VmmChoice::Auto | VmmChoice::Qemu, _, Err(missing)) => Err(ChooseError::Program(missing)),
    }
}

fn reason_for_kvm(engine: Engine, wish: Wish, programs: &Programs, binary: &Binary) -> String {
    let proved = format!("KVM works: a test guest ran on {engine} ({})", binary.version);
    match (engine, wish.vmm, wish.net, &programs.firecracker) {
        (Engine::QemuKvm, VmmChoice::Auto, NetMode::User, Ok(_)) => {
            format!("{proved}; Firecracker has no user-mode network")
        }
        _ => proved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binary::Version;
    use crate::prove::Absent;

    const WORKS: Verdict = Verdict::Works;
    const NO_DEVICE: Verdict = Verdict::Unusable(Unusable::NoDevice { because: Absent::Processor });

    fn binary(kind: VmmKind) -> Binary {
        Binary { kind, path: kind.to_string().into(), version: Version { major: 1, minor: 12, patch: 1 } }
    }

    fn programs(firecracker: bool, qemu: bool) -> Programs {
        let program = |there, kind| if there { Ok(binary(kind)) } else { Err(BinaryError::Missing { kind }) };
        Programs { firecracker: program(firecracker, VmmKind::Firecracker), qemu: program(qemu, VmmKind::Qemu) }
    }

    /// Proves what is to be proved, chooses, and shows the engine or the error.
    fn outcome(vmm: VmmChoice, net: NetMode, there: (bool, bool), firecracker: &Verdict, qemu: &Verdict) -> String {
        let wish = Wish { vmm, net };
        let programs = programs(there.0, there.1);
        let proofs = candidates(wish, &programs).into_iter().map(|(engine, _)| match engine {
            Engine::Firecracker => (engine, firecracker.clone()),
            _ => (engine, qemu.clone()),
        });
        let proofs = Proofs::from_iter(proofs);
        match choose(wish, programs, &proofs) {
            Ok(choice) => {
                assert_eq!(choice.binary, binary(choice.engine.kind()));
                assert!(!choice.reason.contains('\n'));
                choice.engine.to_string()
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn every_wish_on_every_host() {
        use NetMode::{None, User};
        use VmmChoice::{Auto, Firecracker, Qemu};
        let both = (true, true);
        for (vmm, net, there, firecracker, qemu, expected) in [
            (Auto, None, both, &WORKS, &WORKS, "Firecracker"),
            (Auto, None, both, &NO_DEVICE, &WORKS, "QEMU with KVM"),
            (Auto, None, both, &NO_DEVICE, &NO_DEVICE, "QEMU without KVM"),
            (Auto, None, (false, true), &WORKS, &WORKS, "QEMU with KVM"),
            (Auto, None, (true, false), &WORKS, &WORKS, "Firecracker"),
            (Auto, None, (true, false), &NO_DEVICE, &WORKS, "nor is there QEMU"),
            (Auto, None, (false, false), &WORKS, &WORKS, "qemu-system-x86"),
            (Auto, User, both, &WORKS, &WORKS, "QEMU with KVM"),
            (Auto, User, both, &WORKS, &NO_DEVICE, "QEMU without KVM"),
            (Auto, User, (true, false), &WORKS, &WORKS, "qemu-system-x86"),
            (Firecracker, None, both, &WORKS, &NO_DEVICE, "Firecracker"),
            (Firecracker, None, both, &NO_DEVICE, &WORKS, "Firecracker needs KVM, and there is no /dev/kvm"),
            (Firecracker, None, (false, true), &WORKS, &WORKS, "firecracker is not installed"),
            (Firecracker, User, both, &WORKS, &WORKS, "no user-mode network"),
            (Qemu, None, both, &WORKS, &WORKS, "QEMU with KVM"),
            (Qemu, None, both, &WORKS, &NO_DEVICE, "QEMU without KVM"),
            (Qemu, User, (true, false), &WORKS, &WORKS, "qemu is not installed"),
        ] {
            let outcome = outcome(vmm, net, there, firecracker, qemu);
            assert!(outcome.contains(expected), "{vmm} {net} {there:?}: {outcome}, not {expected}");
            let is_exact = ["Firecracker", "QEMU with KVM", "QEMU without KVM"].contains(&expected);
            assert!(!is_exact || outcome == expected, "{vmm} {net} {there:?}: {outcome}, not {expected}");
        }
    }

    #[test]
    fn what_was_not_proved_is_not_used() {
        let wish = Wish { vmm: VmmChoice::Auto, net: NetMode::None };
        let choice = choose(wish, programs(true, true), &Proofs::default()).unwrap();
        assert_eq!(choice.engine, Engine::QemuTcg);
    }

    #[test]
    fn the_reason_names_what_is_wrong_with_kvm() {
        let wish = Wish { vmm: VmmChoice::Auto, net: NetMode::User };
        let choice = choose(wish, programs(false, true), &Proofs::from_iter([(Engine::QemuKvm, NO_DEVICE)])).unwrap();
        assert!(choice.reason.contains("/dev/kvm"), "{}", choice.reason);
    }
}
