//! Which VMM is to run a VM, with KVM proved before it is trusted.

use super::{RealHost, machine, task};
use crate::{
    db::{BootRow, VmRow},
    host::ChooseError,
    op::OpCx,
};
use banger_vmm::{Programs, ProofSetup, Wish, candidates, prove};

impl RealHost {
    pub(super) async fn choose_vmm(&self, vm: &VmRow, cx: &OpCx) -> Result<BootRow, ChooseError> {
        let wish = Wish { vmm: vm.spec.vmm, net: vm.spec.net };
        let overrides = machine::overrides(&self.config)?;
        let programs = Programs::discover(&overrides, &machine::search_path()).await;
        let (files, digest) = (self.boot_files.clone(), vm.spec.kernel_digest);
        let (kernel, _) = task(move || machine::boot_kernel(&files, &digest)).await.map_err(Box::new)?;
        let setup =
            ProofSetup { kernel, memory_dir: self.places.proofs.clone(), runtime_dir: self.places.trials.clone() };
        let candidates = candidates(wish, &programs);
        // Trials are tasks of their own, and bounded: whoever stops waiting leaves none behind.
        let proofs = cx.abandonable(prove(&candidates, &setup, false)).await?;
        let choice = banger_vmm::choose(wish, programs, &proofs).map_err(|source| ChooseError::None { source })?;
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
