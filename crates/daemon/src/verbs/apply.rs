//! The two loops.

use crate::{
    App,
    db::{DbError, VmRow},
    host::{Host, HostError},
    op::OpCx,
    resource::{self, Resource},
};
use banger_model::{
    VmId,
    api::{op::Stage, vm},
    vm::Target,
};

/// Resources that could not be removed.
#[derive(Debug)]
pub(crate) struct LeftOver {
    pub(crate) resource: Resource,
    pub(crate) error: HostError,
}

/// Builds up to `target`. Stops at the first failure, and between any two steps when the operation is cancelled; what is
/// there by then stays until somebody goes down.
pub(crate) async fn up(host: &dyn Host, vm: &VmRow, target: Target, cx: &OpCx) -> Result<(), HostError> {
    let mut stage = None;
    for resource in resource::up_to(target) {
        cx.boundary()?;
        let next = stage_of(resource);
        if stage.replace(next) != Some(next) {
            cx.stage(next, "");
        }
        let change = host.ensure(vm, resource, cx).await?;
        tracing::debug!(vm = %vm.id, %resource, ?change, "ensured");
    }
    Ok(cx.boundary()?)
}

/// Takes down to `target`, past errors, and collects them all.
pub(crate) async fn down(host: &dyn Host, id: VmId, target: Target) -> Vec<LeftOver> {
    let mut left = Vec::new();
    for resource in resource::beyond(target) {
        match host.remove(id, resource).await {
            Ok(change) => tracing::debug!(vm = %id, %resource, ?change, "removed"),
            Err(error) => {
                tracing::error!(vm = %id, %resource, error = &error as &dyn std::error::Error, "not removed");
                left.push(LeftOver { resource, error });
            }
        }
    }
    left
}

/// Goes back down to `target` after what was to build up has failed or was told to end; with `end`, a boot has ended with
/// it. What goes wrong on the way is told, and does not mask why there was one.
pub(crate) async fn back(app: &App, vm: &VmRow, target: Target, end: Option<vm::BootEnd>, cx: &OpCx) {
    let back = async {
        app.db.turn_back(vm.id).await?;
        let left = down(app.host.as_ref(), vm.id, target).await;
        if !left.is_empty() {
            cx.note(format!("not all of {} could be removed again: {}", vm.name, super::error::list(&left)));
        }
        if let Some(end) = end {
            app.db.note_end(vm.id, end).await?;
        }
        close(app, vm.id, target, &left).await
    };
    if let Err(error) = back.await {
        tracing::error!(vm = %vm.id, error = &error as &dyn std::error::Error, "not unwound; the next reconcile goes on");
    }
}

/// Closes the VM's operation after going down to `target`. What is left stays on record with the VM, which is degraded
/// until it is gone.
pub(crate) async fn close(app: &App, id: VmId, target: Target, left: &[LeftOver]) -> Result<(), DbError> {
    if left.is_empty() {
        return app.db.settle(id, target).await.map(drop);
    }
    let told = |left: &LeftOver| vm::LeftOver { part: left.resource.to_string(), why: super::chain(&left.error) };
    app.db.leave(id, target, &left.iter().map(told).collect::<Vec<_>>()).await
}

fn stage_of(resource: Resource) -> Stage {
    match resource {
        // Making a control group is not worth a word of its own.
        Resource::WorkDisk | Resource::Layer | Resource::Group => Stage::Disks,
        Resource::Sockets | Resource::Vmm => Stage::Vmm,
        Resource::UserNet => Stage::Network,
    }
}
