//! `create`: the VM's disks.

use super::{VerbError, apply};
use crate::{
    App,
    db::{Intent, NewVm, OperationRow, VmRow},
    leases::Lease,
    op::OpCx,
};
use banger_model::{
    ByteSize, VmName,
    api::{op::VmPlan, vm::CreateVm},
    spec::VmSpec,
    vm::{Target, Verb},
};

/// How often another generated name is tried when one is taken.
const NAME_TRIES: u32 = 64;

/// Makes a VM; it is at rest afterwards. With `rm`, it lives as long as the lease.
pub(crate) async fn create(app: &App, request: CreateVm, cx: &OpCx) -> Result<(VmRow, Option<Lease>), VerbError> {
    // 1. validate
    let wanted = app.config.load()?.resolve(&request, &app.host_facts, app.host.user_net())?;
    if request.start {
        app.check_memory(wanted.memory).await?;
    }
    let name = free_name(app, request.name.as_ref()).await?;
    cx.plan(VmPlan { name: name.clone(), vcpu: wanted.vcpu, memory: wanted.memory, disk: wanted.disk });

    // 2. prepare
    let (image_digest, kernel_digest, keep) = app.prepare.for_create(&wanted.image, &wanted.kernel, cx).await?;
    let spec = VmSpec {
        vcpu: wanted.vcpu,
        memory: wanted.memory,
        disk: wanted.disk,
        image: wanted.image,
        image_digest,
        kernel: wanted.kernel,
        kernel_digest,
        vmm: wanted.vmm,
        net: wanted.net,
        limits: wanted.limits,
    };

    // 3. intend
    let id = crate::clock::new_vm();
    let slot = app.slots.lock(&id).await;
    // Before the row: a VM on record that nobody holds would be removed.
    let lease = request.rm.then(|| app.leases.take(id));
    let vm = NewVm { id, name, spec, created_ms: crate::clock::now_ms(), rm: request.rm };
    intend(app, vm, request.name.is_none(), cx).await?;
    drop(keep);
    let vm = app.row(id).await?;

    // 4. apply
    let built = apply::up(app.host.as_ref(), &vm, Target::Stopped, cx).await;
    if let Err(source) = built {
        unwind(app, &vm, cx).await;
        return Err(VerbError::Host { verb: Verb::Create, name: vm.name, source });
    }

    // 5. settle
    app.db.settle(id, Target::Stopped).await?;
    // As it is now: whoever comes next may change it.
    let vm = app.row(id).await?;
    drop(slot);
    Ok((vm, lease))
}

/// Goes back to nothing. What goes wrong on the way does not mask why it is gone.
async fn unwind(app: &App, vm: &VmRow, cx: &OpCx) {
    let back = async {
        app.db.turn_back(vm.id).await?;
        let left = apply::down(app.host.as_ref(), vm.id, Target::Absent).await;
        super::tell_left(&vm.name, &left, cx);
        apply::close(app, vm.id, Target::Absent, &left).await
    };
    if let Err(error) = back.await {
        tracing::error!(vm = %vm.id, error = &error as &dyn std::error::Error, "not unwound; the next reconcile goes on");
    }
}

/// The name asked for, or one that nobody has: told to the client before the work, and made sure of with the intent.
async fn free_name(app: &App, asked: Option<&VmName>) -> Result<VmName, VerbError> {
    if let Some(name) = asked {
        return match app.db.vm_named(name).await? {
            Some(_) => Err(VerbError::NameTaken(name.clone())),
            None => Ok(name.clone()),
        };
    }
    for _ in 0..NAME_TRIES {
        let [a, b, ..] = crate::clock::entropy();
        let name = VmName::generate(u64::from_le_bytes([a, b, 0, 0, 0, 0, 0, 0]));
        if app.db.vm_named(&name).await?.is_none() {
            return Ok(name);
        }
    }
    Err(VerbError::NoName(NAME_TRIES))
}

/// Writes it down. A generated name that somebody took meanwhile is replaced by another.
async fn intend(app: &App, mut vm: NewVm, generated: bool, cx: &OpCx) -> Result<(), VerbError> {
    for _ in 0..NAME_TRIES {
        match app.db.intend_create(vm.clone(), OperationRow::begin(cx.id(), Verb::Create)).await? {
            Intent::Written => return Ok(()),
            Intent::NameTaken if !generated => return Err(VerbError::NameTaken(vm.name)),
            Intent::NameTaken => {
                vm.name = free_name(app, None).await?;
                // The client was told of another.
                cx.plan(VmPlan {
                    name: vm.name.clone(),
                    vcpu: vm.spec.vcpu,
                    memory: vm.spec.memory,
                    disk: vm.spec.disk,
                });
            }
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
    pub(crate) limits: banger_model::spec::DiskLimits,
}
