//! The daemon's parts, together.

use crate::{
    config::ConfigFile,
    db::{Db, DbError, OperationRow, VmRow},
    host::{Host, Present},
    host_facts::HostFacts,
    leases::Leases,
    locks::{Held, Locks},
    op::Operations,
    prepare::{Prepare, Users},
    reconcile,
    room::{self, Claim},
    task::{self, Mutex},
    verbs::VerbError,
};
use banger_model::{
    ByteSize, Digest, VmId, VmName,
    api::vm::{OpenOp, RunningVm, VmView},
    paths::Paths,
    spec::NetMode,
    vm::{self, Denied, Status, Target, Verb},
};
use std::{
    collections::HashSet,
    sync::{Arc, MutexGuard, Weak},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

/// How long a network that was mended is left alone, whatever becomes of it. Tests cannot wait that long.
const MEND_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 10_000 });

/// Everything that requests work with. One per process.
pub(crate) struct App {
    pub(crate) paths: Paths,
    pub(crate) config: ConfigFile,
    pub(crate) host_facts: HostFacts,
    pub(crate) db: Db,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) prepare: Prepare,
    /// Whoever acts on a VM holds its slot.
    pub(crate) slots: Locks<VmId>,
    pub(crate) leases: Leases,
    pub(crate) operations: Operations,
    pub(crate) started_ms: u64,
    /// Cancelled when the daemon is to end.
    pub(crate) shutdown: CancellationToken,
    /// What must have ended before the daemon does.
    pub(crate) tasks: TaskTracker,
    /// Told when an operation has failed and may have left something that reconcile is to see to.
    pub(crate) unsettled: Notify,
    /// The VMs whose VMM somebody waits for.
    watched: Mutex<HashSet<VmId>>,
    /// Itself, for the tasks that it starts.
    this: Weak<Self>,
}

/// What an [`App`] is made of.
pub(crate) struct Services {
    pub(crate) paths: Paths,
    pub(crate) config: ConfigFile,
    pub(crate) host_facts: HostFacts,
    pub(crate) db: Db,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) prepare: Prepare,
}

impl App {
    pub(crate) fn new(services: Services) -> Arc<Self> {
        let Services { paths, config, host_facts, db, host, prepare } = services;
        Arc::new_cyclic(|this| Self {
            paths,
            config,
            host_facts,
            db,
            host,
            prepare,
            slots: Locks::default(),
            leases: Leases::default(),
            operations: Operations::default(),
            started_ms: crate::clock::now_ms(),
            shutdown: CancellationToken::new(),
            tasks: TaskTracker::new(),
            unsettled: Notify::new(),
            watched: Mutex::default(),
            this: this.clone(),
        })
    }

    /// The VM of that id, which must be there.
    pub(crate) async fn row(&self, id: VmId) -> Result<VmRow, VerbError> {
        self.db.vm(id).await?.ok_or_else(|| VerbError::NotFound(id.to_string()))
    }

    /// Closes the VM's operation with the target that was reached: the VM as it is by then.
    pub(crate) async fn settle(&self, id: VmId, reached: Target) -> Result<VmRow, VerbError> {
        self.db.settle(id, reached).await?.ok_or_else(|| VerbError::NotFound(id.to_string()))
    }

    /// The VM of that name, which must be there.
    pub(crate) async fn named(&self, name: &VmName) -> Result<VmRow, VerbError> {
        self.db.vm_named(name).await?.ok_or_else(|| VerbError::NotFound(name.to_string()))
    }

    /// Which VMs need which image.
    pub(crate) async fn image_users(&self) -> Result<Users, DbError> {
        self.users(|vm| vm.spec.image_digest).await
    }

    /// Which VMs need which kernel.
    pub(crate) async fn kernel_users(&self) -> Result<Users, DbError> {
        self.users(|vm| vm.spec.kernel_digest).await
    }

    async fn users(&self, of: impl Fn(&VmRow) -> Digest) -> Result<Users, DbError> {
        let mut users = Users::new();
        for vm in self.db.vms().await? {
            users.entry(of(&vm)).or_default().push(vm.name);
        }
        Ok(users)
    }

    /// The VMs that a prune may remove: those that are stopped, and that nobody acts on. One of a client that is about to
    /// start what it has made is none.
    pub(crate) async fn prunable(&self) -> Result<Vec<VmRow>, DbError> {
        let mut vms = self.db.vms().await?;
        vms.retain(|vm| self.status(vm) == Status::Stopped && self.slots.try_lock(&vm.id).is_some());
        Ok(vms)
    }

    /// Refuses a guest that could not be given its memory beside the VMs that run, or are about to.
    pub(crate) async fn check_memory(&self, asked: ByteSize) -> Result<(), VerbError> {
        let running = self.db.vms().await?.into_iter().filter(|vm| vm.target == Target::Running);
        let claims: Vec<_> = running
            .map(|vm| Claim { promised: vm.spec.memory, taken: self.host.memory_taken(vm.id).unwrap_or_default() })
            .collect();
        room::check_memory(&self.host_facts, self.host_facts.memory_available(), &claims, asked)
    }

    /// The VM and its slot, if its status admits the verb. Denies at once while an operation is open; waits for the slot
    /// while the daemon itself tidies up.
    pub(crate) async fn admit(&self, name: &VmName, verb: Verb) -> Result<(VmRow, Held), VerbError> {
        let vm = self.named(name).await?;
        let deny = |name: VmName, denied: Denied| VerbError::Denied { verb, name, denied };
        if let Err(denied @ Denied::Busy(_)) = vm::admit(verb, self.status(&vm)) {
            return Err(deny(vm.name, denied));
        }
        let slot = self.slots.lock(&vm.id).await;
        let vm = self.db.vm(vm.id).await?.ok_or_else(|| VerbError::NotFound(name.to_string()))?;
        match vm::admit(verb, self.status(&vm)) {
            Ok(()) => Ok((vm, slot)),
            Err(denied) => Err(deny(vm.name, denied)),
        }
    }

    /// What the VM is doing.
    pub(crate) fn status(&self, vm: &VmRow) -> Status {
        Self::status_of(vm, &self.host.observe(vm.id))
    }

    fn status_of(vm: &VmRow, present: &Present) -> Status {
        let open = vm.operation.as_ref().map(OperationRow::open);
        vm::status(vm.target, open, present.observed())
    }

    /// The VM as clients see it.
    pub(crate) fn view(&self, vm: VmRow) -> VmView {
        let present = self.host.observe(vm.id);
        let status = Self::status_of(&vm, &present);
        let running = vm.boot.filter(|_| status == Status::Running).map(|boot| RunningVm {
            vmm: boot.vmm,
            accel: boot.accel,
            reason: boot.reason,
            pid: self.host.vmm_pid(vm.id).unwrap_or_default(),
            started_ms: boot.started_ms,
            kernel_release: boot.kernel_release,
            boot_id: boot.boot_id,
            offline: vm.spec.net == NetMode::User && !present.net_alive,
            warnings: boot.warnings.into_iter().chain(self.room_warning(vm.id)).collect(),
        });
        VmView {
            id: vm.id,
            name: vm.name,
            status,
            spec: vm.spec,
            created_ms: vm.created_ms,
            boots: vm.boots,
            rm: vm.rm,
            running,
            last_end: vm.last_end,
            operation: vm.operation.map(|operation| OpenOp { op: Some(operation.op), verb: operation.verb }),
            left: vm.left,
        }
    }

    fn room_warning(&self, id: VmId) -> Option<String> {
        self.host.disk_room(id).and_then(|room| room.warning())
    }

    /// Sees to a running VM: when its VMM or its network has gone, the VM is reconciled.
    pub(crate) fn watch(&self, id: VmId) {
        let Some(app) = self.this.upgrade() else { return };
        if !self.watched().insert(id) {
            return;
        }
        let span = tracing::info_span!("watch", op = %crate::clock::new_op(), vm = %id);
        let watching = async move {
            let shutdown = app.shutdown.clone();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {}
                () = app.see_end(id) => {}
            }
        };
        task::spawn(watching.instrument(span));
    }

    async fn see_end(&self, id: VmId) {
        let mut mended = None;
        loop {
            let ended = match self.row(id).await {
                Ok(vm) => tokio::select! {
                    biased;
                    _ = self.host.ended(&vm) => true,
                    () = self.network_breaks(&vm, mended) => false,
                },
                Err(_) => true,
            };
            // A verb that ends the VM holds the slot; whatever it leaves is looked at after it.
            let slot = self.slots.lock(&id).await;
            if ended {
                self.watched().remove(&id);
            }
            if let Err(error) = reconcile::one(self, id).await {
                tracing::error!(vm = %id, error = &error as &dyn std::error::Error, "not reconciled");
            }
            drop(slot);
            if ended {
                return;
            }
            mended = Some(Instant::now());
        }
    }

    /// Resolves when the VM's network is to be mended: at once the first time, then not before a pause, so that one which
    /// always breaks down does not keep the host busy.
    async fn network_breaks(&self, vm: &VmRow, mended: Option<Instant>) {
        self.host.network_ended(vm).await;
        if let Some(mended) = mended {
            task::sleep_until(mended + MEND_PAUSE).await;
        }
    }

    fn watched(&self) -> MutexGuard<'_, HashSet<VmId>> {
        self.watched.lock()
    }
}
