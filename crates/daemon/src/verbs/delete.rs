//! `delete`: nothing of the VM is left.

use super::{VerbError, apply};
use crate::{App, db::OperationRow, op::OpCx};
use banger_model::{
    VmId, VmName,
    api::op::Stage,
    vm::{Denied, Status, Target, Verb},
};

/// Removes a VM; a running one only with `force`; with `id`, none that is not that very VM. Only goes forward.
pub(crate) async fn delete(
    app: &App,
    name: &VmName,
    id: Option<VmId>,
    force: bool,
    cx: &OpCx,
) -> Result<(), VerbError> {
    // 1. validate
    let (vm, slot) = app.admit(name, Verb::Delete).await?;
    if id.is_some_and(|id| id != vm.id) {
        return Err(VerbError::NotFound(name.to_string()));
    }
    if !force && app.status(&vm) == Status::Running {
        let denied = Denied::Unfit(Status::Running);
        return Err(VerbError::Denied { verb: Verb::Delete, name: vm.name, denied });
    }

    // 2. prepare: nothing

    // 3. intend
    app.db.intend(vm.id, Target::Absent, OperationRow::begin(cx.id(), Verb::Delete), None).await?;

    // 4. apply
    cx.stage(Stage::Remove, "");
    let left = apply::down(app.host.as_ref(), vm.id, Target::Absent).await;

    // 5. settle: the row goes last, and stays as long as anything is left
    apply::close(app, vm.id, Target::Absent, &left).await?;
    if !left.is_empty() {
        return Err(VerbError::LeftOver { name: vm.name, left });
    }
    drop(slot);
    Ok(())
}
