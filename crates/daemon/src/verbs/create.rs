//! `create`: the VM's disks.

use super::{VerbError, apply};
use crate::{
    App,
    leases::Lease,
    db::{Intent, NewVm, OperationRow, VmRow},
    op::OpCx,
};
use banger_model::{
    ByteSize, VmName,
    api::vm::CreateVm,
    spec::VmSpec,
    vm::{Target, Verb},
};

/// How often another generated name is tried when one is taken.
const NAME_TRIES: u32 = 64;

/// Makes a VM; it is at rest afterwards. With `rm`, it lives as long as the lease.
pub(crate) async fn create(app: &App, request: CreateVm, cx: &OpCx) -> Result<(VmRow, Option<Lease>), VerbError> {
    // 1. validate
    let wanted = app.config.load()?.resolve(&request, &app.host_facts)?;
    if let Some(name) = &request.name
        && app.db.vm_named(name).await?.is_some()
    {
        return Err(VerbError::NameTaken(name.clone()));
    }

    // 2. prepare
    let image = app.prepare.image(&wanted.image, cx).await?;
    let kernel = app.prepare.kernel(&wanted.kernel, cx).await?;
    let spec = VmSpec {
        vcpu: wanted.vcpu,
        memory: wanted.memory,
        disk: wanted.disk,
        image: wanted.image,
        image_digest: image.digest,
        kernel: wanted.kernel,
        kernel_digest: kernel,
        vmm: wanted.vmm,
        net: wanted.net,
    };

    // 3. intend
    let id = crate::clock::new_vm();
    let slot = app.slots.lock(id).await;
    // Before the row: a VM on record that nobody holds would be removed.
    let lease = request.rm.then(|| app.leases.take(id));
    intend(app, id, request.name, spec, request.rm, cx).await?;
    let vm = app.row(id).await?;

    // 4. apply
    let built = apply::up(app.host.as_ref(), &vm, Target::Stopped, cx).await;
    if let Err(source) = built {
        app.db.turn_back(id).await?;
        let left = apply::down(app.host.as_ref(), id, Target::Absent).await;
        if left.is_empty() {
            app.db.settle(id, Target::Absent).await?;
        }
        return Err(VerbError::Host { verb: Verb::Create, name: vm.name, source });
    }

    // 5. settle
    app.db.settle(id, Target::Stopped).await?;
    drop(slot);
    Ok((app.row(id).await?, lease))
}

async fn intend(
    app: &App,
    id: banger_model::VmId,
    name: Option<VmName>,
    spec: VmSpec,
    rm: bool,
    cx: &OpCx,
) -> Result<(), VerbError> {
    let created_ms = crate::clock::now_ms();
    for _ in 0..NAME_TRIES {
        let [a, b, ..] = crate::clock::entropy();
        let chosen = name.clone().unwrap_or_else(|| VmName::generate(u64::from_le_bytes([a, b, 0, 0, 0, 0, 0, 0])));
        let vm = NewVm { id, name: chosen.clone(), spec: spec.clone(), created_ms, rm };
        match app.db.intend_create(vm, OperationRow::begin(cx.id(), Verb::Create)).await? {
            Intent::Written => return Ok(()),
            Intent::NameTaken if name.is_some() => return Err(VerbError::NameTaken(chosen)),
            Intent::NameTaken => continue,
        }
    }
    Err(VerbError::NoName(NAME_TRIES))
}

/// What a create asks for after all defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) image: banger_model::ImageRef,
    pub(crate) kernel: banger_model::KernelRef,
    pub(crate) vcpu: u32,
    pub(crate) memory: ByteSize,
    pub(crate) disk: ByteSize,
    pub(crate) vmm: banger_model::spec::VmmChoice,
    pub(crate) net: banger_model::spec::NetMode,
}
