//! The two loops.

use crate::{
    db::VmRow,
    host::{Host, HostError},
    op::OpCx,
    resource::{self, Resource},
};
use banger_model::{VmId, api::op::Stage, vm::Target};

/// Resources that could not be removed.
#[derive(Debug)]
pub(crate) struct LeftOver {
    pub(crate) resource: Resource,
    pub(crate) error: HostError,
}

/// Builds up to `target`. Stops at the first failure; what is there by then stays until somebody goes down.
pub(crate) async fn up(host: &dyn Host, vm: &VmRow, target: Target, cx: &OpCx) -> Result<(), HostError> {
    let mut stage = None;
    for resource in resource::up_to(target) {
        let next = stage_of(resource);
        if stage.replace(next) != Some(next) {
            cx.stage(next, "");
        }
        let change = host.ensure(vm, resource, cx).await?;
        tracing::debug!(vm = %vm.id, %resource, ?change, "ensured");
    }
    Ok(())
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

fn stage_of(resource: Resource) -> Stage {
    match resource {
        // Making a control group is not worth a word of its own.
        Resource::WorkDisk | Resource::Layer | Resource::Group => Stage::Disks,
        Resource::Sockets | Resource::Vmm => Stage::Vmm,
        Resource::UserNet => Stage::Network,
    }
}
