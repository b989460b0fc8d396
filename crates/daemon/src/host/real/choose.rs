//! Which VMM is to run a VM, with KVM proved before it is trusted.

use super::{RealHost, machine, task};
use crate::{
    db::{BootRow, VmRow},
    host::ChooseError,
    op::OpCx,
    search_path::search_path,
};
use banger_vmm::{Binary, Programs, ProofSetup, Wish, binary::Version, candidates, prove};
use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

/// Programs that users have been cautioned of, each once in a daemon's life.
#[derive(Debug, Default)]
pub(super) struct Cautions(Mutex<HashSet<(PathBuf, Version)>>);

impl Cautions {
    /// What there is to say of the program and was not said yet.
    fn unsaid(&self, binary: &Binary) -> Option<String> {
        let caution = binary.caution()?;
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.insert((binary.path.clone(), binary.version)).then_some(caution)
    }
}

impl RealHost {
    pub(super) async fn choose_vmm(&self, vm: &VmRow, cx: &OpCx) -> Result<BootRow, ChooseError> {
        let wish = Wish { vmm: vm.spec.vmm, net: vm.spec.net };
        let overrides = machine::overrides(&self.config)?;
        let programs = Programs::discover(&overrides, &search_path()).await;
        let (files, digest) = (self.boot_files.clone(), vm.spec.kernel_digest);
        let (kernel, _) = task(move || machine::boot_kernel(&files, &digest)).await.map_err(Box::new)?;
        let setup =
            ProofSetup { kernel, memory_dir: self.places.proofs.clone(), runtime_dir: self.places.trials.clone() };
        let candidates = candidates(wish, &programs);
        // Trials are tasks of their own, and bounded: whoever stops waiting leaves none behind.
        let proofs = cx.abandonable(prove(&candidates, &setup)).await?;
        let choice = banger_vmm::choose(wish, programs, &proofs).map_err(|source| ChooseError::None { source })?;
        if let Some(caution) = self.cautions.unsaid(&choice.binary) {
            cx.note(caution);
        }
        Ok(BootRow {
            vmm: choice.engine.kind(),
            accel: choice.engine.accel(),
            reason: choice.reason,
            started_ms: crate::clock::now_ms(),
            kernel_release: String::new(),
            boot_id: String::new(),
            warnings: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_model::spec::VmmKind;

    #[test]
    fn a_caution_is_said_once_for_each_program_and_version() {
        let cautions = Cautions::default();
        let binary = |path: &str, version: &str| Binary {
            kind: VmmKind::Firecracker,
            path: path.into(),
            version: version.parse().unwrap(),
        };
        assert_eq!(cautions.unsaid(&binary("/a", "1.16.1")), None);
        assert!(cautions.unsaid(&binary("/a", "1.17.0")).unwrap().contains("1.17.0"));
        assert_eq!(cautions.unsaid(&binary("/a", "1.17.0")), None);
        assert!(cautions.unsaid(&binary("/a", "1.18.0")).is_some());
        assert!(cautions.unsaid(&binary("/b", "1.17.0")).is_some());
    }
}
