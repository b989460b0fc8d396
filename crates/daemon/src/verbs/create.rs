//! `create`: the VM's disks.

use super::{VerbError, apply};
use crate::{
    App,
    db::{NewVm, OperationRow, VmRow},
    leases::Lease,
    locks::Held,
    op::OpCx,
};
use banger_model::{
    ByteSize, Digest, ImageRef, KernelRef, VmName,
    api::{op::VmPlan, vm::CreateVm},
    spec::{DiskLimits, NetMode, VmSpec, VmmChoice},
    vm::{Target, Verb},
};

/// How often another generated name is tried when one is taken.
const NAME_TRIES: u32 = 64;

/// A VM that was made, and that nobody else acts on as long as its slot is held.
pub(crate) struct Made {
    pub(crate) vm: VmRow,
    pub(crate) slot: Held,
    /// With `rm`, the VM lives as long as this.
    pub(crate) lease: Option<Lease>,
}

/// Makes a VM; it is at rest afterwards.
pub(crate) async fn create(app: &App, request: CreateVm, cx: &OpCx) -> Result<Made, VerbError> {
    // 1. validate
    let wanted = app.config.load()?.resolve(&request, &app.host_facts, app.host.user_net())?;
    if request.start {
        app.check_memory(wanted.memory).await?;
    }
    let name = free_name(app, request.name.as_ref()).await?;
    cx.plan(wanted.plan(name.clone()));

    // 2. prepare
    let (image_digest, kernel_digest, keep) = app.prepare.for_create(&wanted.image, &wanted.kernel, cx).await?;
    let spec = wanted.clone().spec(image_digest, kernel_digest);

    // 3. intend
    let id = crate::clock::new_vm();
    let slot = app.slots.lock(&id).await;
    // Before the row: a VM on record that nobody holds would be removed.
    let lease = request.rm.then(|| app.leases.take(id));
    let vm = NewVm { id, name, spec, created_ms: crate::clock::now_ms(), rm: request.rm };
    let vm = intend(app, vm, request.name.is_none().then_some(&wanted), cx).await?;
    drop(keep);

    // 4. apply
    let built = apply::up(app.host.as_ref(), &vm, Target::Stopped, cx).await;
    if let Err(source) = built {
        apply::back(app, &vm, Target::Absent, None, cx).await;
        return Err(VerbError::Host { verb: Verb::Create, name: vm.name, source });
    }

    // 5. settle
    let vm = app.settle(id, Target::Stopped).await?;
    Ok(Made { vm, slot, lease })
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

/// Writes it down. A generated name that somebody took meanwhile is replaced by another, of which the client is told.
async fn intend(app: &App, mut vm: NewVm, generated: Option<&Wanted>, cx: &OpCx) -> Result<VmRow, VerbError> {
    for _ in 0..NAME_TRIES {
        let operation = OperationRow::begin(cx.id(), Verb::Create);
        if let Some(written) = app.db.intend_create(vm.clone(), operation).await? {
            return Ok(written);
        }
        let Some(wanted) = generated else { return Err(VerbError::NameTaken(vm.name)) };
        vm.name = free_name(app, None).await?;
        cx.plan(wanted.plan(vm.name.clone()));
    }
    Err(VerbError::NoName(NAME_TRIES))
}

/// What a create asks for after all defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) image: ImageRef,
    pub(crate) kernel: KernelRef,
    pub(crate) vcpu: u32,
    pub(crate) memory: ByteSize,
    pub(crate) disk: ByteSize,
    pub(crate) vmm: VmmChoice,
    pub(crate) net: NetMode,
    pub(crate) limits: DiskLimits,
}

impl Wanted {
    /// What the client is told before anything is fetched.
    fn plan(&self, name: VmName) -> VmPlan {
        VmPlan { name, vcpu: self.vcpu, memory: self.memory, disk: self.disk }
    }

    /// With what its names mean now.
    fn spec(self, image_digest: Digest, kernel_digest: Digest) -> VmSpec {
        let Self { image, kernel, vcpu, memory, disk, vmm, net, limits } = self;
        VmSpec { vcpu, memory, disk, image, image_digest, kernel, kernel_digest, vmm, net, limits }
    }
}
