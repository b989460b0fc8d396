//! `stop` and `kill`: back to rest.

use super::{
    Admitted, VerbError,
    apply::{self, LeftOver},
};
use crate::{
    App,
    db::{OperationRow, VmRow},
    op::OpCx,
};
use banger_model::{
    VmName,
    api::{
        op::Stage,
        vm::{BootEnd, EndReason},
    },
    vm::{Target, Verb},
};

/// Ends a VM: in order with [`Verb::Stop`], at once with [`Verb::Kill`]. Only goes forward.
pub(crate) async fn stop(app: &App, name: &VmName, verb: Verb, cx: &OpCx) -> Result<VmRow, VerbError> {
    // 1. validate
    let (vm, slot) = match super::admit(app, name, verb, cx).await? {
        Admitted::Go(vm, slot) => (vm, slot),
        Admitted::Already(vm) => return Ok(vm),
    };

    // 2. prepare: nothing

    // 3. intend
    app.db.intend(vm.id, Target::Stopped, OperationRow::begin(cx.id(), verb), None).await?;

    // 4. apply
    let left = take_down(app, &vm, verb, cx).await?;

    // 5. settle
    apply::close(app, vm.id, Target::Stopped, &left).await?;
    if !left.is_empty() {
        return Err(VerbError::LeftOver { name: vm.name, left });
    }
    // As it is now: whoever comes next may change it.
    let vm = app.row(vm.id).await?;
    drop(slot);
    Ok(vm)
}

/// Ends the guest, removes what only a running VM owns, and notes how the boot ended. Says what could not be removed.
pub(super) async fn take_down(app: &App, vm: &VmRow, verb: Verb, cx: &OpCx) -> Result<Vec<LeftOver>, VerbError> {
    let in_order = match verb {
        Verb::Stop | Verb::Restart => {
            cx.stage(Stage::Shutdown, "");
            // A stop that is cancelled goes on at once, as a kill.
            cx.cancellable(app.host.shutdown(vm)).await.unwrap_or(false)
        }
        _ => false,
    };
    cx.stage(Stage::Remove, "");
    let left = apply::down(app.host.as_ref(), vm.id, Target::Stopped).await;
    if vm.boot.is_some() {
        let reason = if in_order { EndReason::Stopped } else { EndReason::Killed };
        app.db.note_end(vm.id, BootEnd { at_ms: crate::clock::now_ms(), boot: vm.boots, reason }).await?;
    }
    Ok(left)
}
