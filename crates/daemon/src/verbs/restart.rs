//! `restart`: to rest and up again, as one operation: a new boot.

use super::{VerbError, apply, start, stop};
use crate::{
    App,
    db::{OperationRow, VmRow},
    op::OpCx,
};
use banger_model::{
    VmName,
    vm::{Target, Verb},
};

/// Gives a VM a new boot.
pub(crate) async fn restart(app: &App, name: &VmName, cx: &OpCx) -> Result<VmRow, VerbError> {
    // 1. validate
    let (vm, slot) = app.admit(name, Verb::Restart).await?;

    // 2. prepare
    app.prepare.initramfs(&vm.spec.kernel_digest).await?;
    let boot = start::choose(app, &vm, cx).await?;

    // 3. intend
    app.db.intend(vm.id, Target::Running, OperationRow::begin(cx.id(), Verb::Restart), None).await?;

    // 4. apply
    let left = stop::take_down(app, &vm, Verb::Restart, cx).await?;
    if !left.is_empty() {
        apply::close(app, vm.id, Target::Stopped, &left).await?;
        return Err(VerbError::LeftOver { name: vm.name, left });
    }
    app.db.next_boot(vm.id, boot.clone()).await?;
    start::boot_as_intended(app, vm.id, Verb::Restart, boot, cx).await?;

    // 5. settle
    let vm = app.settle(vm.id, Target::Running).await?;
    drop(slot);
    app.watch(vm.id);
    Ok(vm)
}
