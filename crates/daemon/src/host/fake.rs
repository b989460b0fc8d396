//! A host that models what the real one's parts need of each other, and on which any effect can be made to go wrong.
//!
//! A [`World`] outlives the daemons that act on it, as a machine does. It asserts that an operation is on record before
//! anything is built, and refuses what a real host would: a disk that a VMM has open is busy, and a VMM does not start
//! without its disks and sockets.

use super::*;
use crate::db::Db;
use crate::logbook::Log;
use crate::task::Mutex;
use banger_model::{
    ByteSize,
    api::vm::EndReason,
    spec::{Accel, NetMode, VmmKind},
    vm::Target,
    wire::hello::Hunt,
};
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::Notify,
};

/// What can be made to go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Ensure(Resource),
    Remove(Resource),
    Boot,
    Shutdown,
    /// A transaction on the database, by its name. Not the host's, but a step of a verb like the others.
    Write(&'static str),
}

/// On which side of the effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Before,
    After,
}

/// In which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// It says so.
    Fails,
    /// The daemon is killed there.
    Crashes,
    /// It takes until somebody gives up.
    Hangs,
    /// The operation is told to end, at that moment; the effect itself goes well.
    Cancelled,
}

/// Something that goes wrong once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) effect: Effect,
    pub(crate) when: When,
    pub(crate) how: How,
}

#[derive(Debug, Default)]
struct Machine {
    resources: BTreeSet<Resource>,
    alive: bool,
    net_alive: bool,
    answers: bool,
    end: Option<EndReason>,
}

/// The host itself.
#[derive(Debug, Default)]
pub(crate) struct World {
    machines: Mutex<HashMap<VmId, Machine>>,
    faults: Mutex<VecDeque<Planted>>,
    /// Every effect so far, in order.
    trace: Mutex<Vec<Effect>>,
    /// How the operation at hand is told to end.
    cancel: Mutex<Option<Cancel>>,
    /// Told when a fault that crashes or hangs has been reached.
    pub(crate) reached: Notify,
    changed: Notify,
    /// What the agents of all guests are, instead of one that greets and no more.
    pub(crate) agent: OnceLock<Agent>,
    /// Whether KVM is taken to work.
    pub(crate) kvm_believed: AtomicBool,
    /// Where consoles are.
    pub(crate) consoles: OnceLock<PathBuf>,
}

/// A fault, and how many effects of its kind come before it.
#[derive(Debug)]
struct Planted {
    skip: usize,
    fault: Fault,
}

struct Cancel(Box<dyn FnOnce() + Send>);

impl std::fmt::Debug for Cancel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cancel")
    }
}

/// An agent: serves a session on a stream, until it is dropped because its VM has ended.
pub(crate) struct Agent(pub(crate) Box<dyn Fn(UnixStream) -> BoxFuture<'static, ()> + Send + Sync>);

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Agent")
    }
}

impl World {
    /// The next time that effect comes, it goes wrong; after those that were planted before.
    pub(crate) fn plant(&self, fault: Fault) {
        self.plant_after(0, fault);
    }

    /// As [`World::plant`], but the first `skip` effects of that kind go well.
    pub(crate) fn plant_after(&self, skip: usize, fault: Fault) {
        self.faults.lock().push_back(Planted { skip, fault });
    }

    /// Nothing goes wrong any more.
    pub(crate) fn heal(&self) {
        self.faults.lock().clear();
    }

    /// What [`How::Cancelled`] does.
    pub(crate) fn on_cancel(&self, cancel: impl FnOnce() + Send + 'static) {
        *self.cancel.lock() = Some(Cancel(Box::new(cancel)));
    }

    /// The effects since this was last asked, in order.
    pub(crate) fn take_trace(&self) -> Vec<Effect> {
        std::mem::take(&mut self.trace.lock())
    }

    /// The host loses power and comes up again: no process, no control group and nothing of the runtime folder is there;
    /// the records of processes are.
    pub(crate) fn reboot(&self) {
        for machine in self.machines.lock().values_mut() {
            (machine.alive, machine.net_alive, machine.answers) = (false, false, false);
            machine.end = None;
            machine.resources.retain(|resource| !matches!(resource, Resource::Group | Resource::Sockets));
        }
        self.changed.notify_waiters();
    }

    /// Whether nothing is planted that has not come yet.
    pub(crate) fn spent(&self) -> bool {
        self.faults.lock().is_empty()
    }

    /// All that is there.
    pub(crate) fn inventory(&self) -> Inventory {
        let machines = self.machines.lock();
        let there = machines.iter().filter(|(_, machine)| !machine.resources.is_empty());
        there.map(|(id, machine)| (*id, machine.present())).collect()
    }

    /// A VM's VMM ends by itself.
    pub(crate) fn end(&self, id: VmId, reason: EndReason) {
        let mut machines = self.machines.lock();
        let machine = machines.get_mut(&id).unwrap();
        machine.alive = false;
        machine.end = Some(reason);
        drop(machines);
        self.changed.notify_waiters();
    }

    /// The process that is a VM's network ends by itself.
    pub(crate) fn end_network(&self, id: VmId) {
        let mut machines = self.machines.lock();
        let machine = machines.get_mut(&id).unwrap();
        assert!(std::mem::take(&mut machine.net_alive));
        drop(machines);
        self.changed.notify_waiters();
    }

    /// Something that no row knows of.
    pub(crate) fn strand(&self, id: VmId, target: Target) {
        let machine = Machine {
            resources: crate::resource::up_to(target).collect(),
            alive: target == Target::Running,
            net_alive: target == Target::Running,
            ..Machine::default()
        };
        self.machines.lock().insert(id, machine);
    }

    /// Resolves when the VM's VMM has ended.
    async fn ended(&self, id: VmId) -> EndReason {
        loop {
            let changed = self.changed.notified();
            let ended = {
                let mut machines = self.machines.lock();
                let machine = machines.entry(id).or_default();
                (!machine.alive).then(|| machine.end.clone())
            };
            if let Some(reason) = ended {
                return reason.unwrap_or(EndReason::Lost);
            }
            changed.await;
        }
    }

    fn present(&self, id: VmId) -> Present {
        self.machines.lock().get(&id).map(Machine::present).unwrap_or_default()
    }

    /// One effect, with whatever is planted there.
    async fn act<T>(&self, effect: Effect, failed: impl Fn() -> T, act: impl FnOnce() -> T) -> T {
        if self.goes_wrong(effect, When::Before).await {
            return failed();
        }
        let done = act();
        self.changed.notify_waiters();
        if self.goes_wrong(effect, When::After).await {
            return failed();
        }
        done
    }

    /// A write to the database, with whatever is planted there.
    pub(crate) async fn write_goes_wrong(&self, name: &'static str, when: When) -> bool {
        self.goes_wrong(Effect::Write(name), when).await
    }

    async fn goes_wrong(&self, effect: Effect, when: When) -> bool {
        if when == When::Before {
            self.trace.lock().push(effect);
        }
        let how = {
            let mut faults = self.faults.lock();
            let Some(planted) = faults.front_mut() else { return false };
            if (planted.fault.effect, planted.fault.when) != (effect, when) {
                return false;
            }
            if planted.skip > 0 {
                planted.skip -= 1;
                return false;
            }
            faults.pop_front().unwrap().fault.how
        };
        match how {
            How::Fails => true,
            How::Cancelled => {
                let Cancel(cancel) = self.cancel.lock().take().expect("nothing can be cancelled");
                cancel();
                false
            }
            How::Crashes | How::Hangs => {
                self.reached.notify_one();
                std::future::pending().await
            }
        }
    }
}

impl Machine {
    fn present(&self) -> Present {
        Present { resources: self.resources.clone(), vmm_alive: self.alive, net_alive: self.net_alive }
    }

    fn build(&mut self, vm: &VmRow, resource: Resource) -> Result<Change, HostError> {
        let there = |needed: &[Resource]| needed.iter().all(|resource| self.resources.contains(resource));
        match resource {
            Resource::Vmm if self.alive => return Ok(Change::Unchanged),
            Resource::Vmm => {
                assert!(vm.boot.is_some(), "a VMM is started for a boot on record");
                let needs = [Resource::WorkDisk, Resource::Layer, Resource::Group, Resource::Sockets];
                assert!(there(&needs), "{:?}", self.resources);
                (self.alive, self.answers, self.end) = (true, false, None);
            }
            Resource::UserNet => {
                assert!(self.alive && there(&[Resource::Group]), "a network has a VMM to serve and is limited");
                if std::mem::replace(&mut self.net_alive, true) {
                    return Ok(Change::Unchanged);
                }
            }
            Resource::WorkDisk | Resource::Layer | Resource::Group | Resource::Sockets => {}
        }
        match self.resources.insert(resource) {
            true => Ok(Change::Changed),
            false => Ok(Change::Unchanged),
        }
    }

    fn take_down(&mut self, resource: Resource) -> Result<Change, HostError> {
        match resource {
            Resource::Vmm => {
                self.alive = false;
                self.end.get_or_insert(EndReason::Lost);
            }
            Resource::UserNet => self.net_alive = false,
            Resource::WorkDisk | Resource::Layer | Resource::Group | Resource::Sockets if self.alive => {
                let source = std::io::ErrorKind::ResourceBusy.into();
                return Err(HostError::File { resource, path: PathBuf::from("busy"), source });
            }
            _ => {}
        }
        // A group with a process in it cannot be removed.
        if resource == Resource::Group && self.net_alive {
            let source = std::io::ErrorKind::ResourceBusy.into();
            return Err(HostError::File { resource, path: PathBuf::from("busy"), source });
        }
        match self.resources.remove(&resource) {
            true => Ok(Change::Changed),
            false => Ok(Change::Unchanged),
        }
    }
}

/// One daemon's hands on it.
pub(crate) struct FakeHost {
    world: Arc<World>,
    /// Where it makes sure, before each effect, that the intent is on record.
    db: Option<Db>,
    sight: Sight,
}

/// What the daemon is told of the inventory.
type Sight = Box<dyn Fn(Inventory) -> std::io::Result<Inventory> + Send + Sync>;

impl FakeHost {
    pub(crate) fn new(world: Arc<World>, db: Db) -> Self {
        Self { world, db: Some(db), sight: Box::new(Ok) }
    }

    /// One that believes what it is told, which takes no time.
    pub(crate) fn trusting(world: Arc<World>) -> Self {
        Self { world, db: None, sight: Box::new(Ok) }
    }

    /// One that may not see everything.
    pub(crate) fn looking_with(
        self,
        sight: impl Fn(Inventory) -> std::io::Result<Inventory> + Send + Sync + 'static,
    ) -> Self {
        Self { sight: Box::new(sight), ..self }
    }

    fn with<T>(&self, id: VmId, act: impl FnOnce(&mut Machine) -> T) -> T {
        act(self.world.machines.lock().entry(id).or_default())
    }

    async fn assert_intended(&self, id: VmId) {
        let Some(db) = &self.db else { return };
        let row = db.vm(id).await.unwrap().expect("intent comes before effect");
        assert!(row.operation.is_some(), "an operation is open before any effect");
    }

    /// The network of a VM that runs may be mended: that it is to have one stays on record.
    async fn assert_intended_or_mends(&self, id: VmId, resource: Resource) {
        let Some(db) = &self.db else { return };
        let row = db.vm(id).await.unwrap().expect("intent comes before effect");
        let mends = resource == Resource::UserNet && row.target == Target::Running;
        assert!(row.operation.is_some() || mends, "an operation is open before any effect");
    }
}

impl Host for FakeHost {
    fn ensure<'a>(
        &'a self,
        vm: &'a VmRow,
        resource: Resource,
        _: &'a OpCx,
    ) -> BoxFuture<'a, Result<Change, HostError>> {
        Box::pin(async move {
            self.assert_intended_or_mends(vm.id, resource).await;
            let build = || self.with(vm.id, |machine| machine.build(vm, resource));
            self.world.act(Effect::Ensure(resource), || Err(HostError::Planted(resource)), build).await
        })
    }

    fn remove(&self, id: VmId, resource: Resource) -> BoxFuture<'_, Result<Change, HostError>> {
        Box::pin(async move {
            let take_down = || self.with(id, |machine| machine.take_down(resource));
            self.world.act(Effect::Remove(resource), || Err(HostError::Planted(resource)), take_down).await
        })
    }

    fn inventory(&self) -> BoxFuture<'_, Result<Inventory, HostError>> {
        Box::pin(async { (self.sight)(self.world.inventory()).map_err(|source| HostError::Processes { source }) })
    }

    fn observe(&self, id: VmId) -> Present {
        self.world.present(id)
    }

    fn boot<'a>(&'a self, vm: &'a VmRow, cx: &'a OpCx) -> BoxFuture<'a, Result<GuestFacts, BootError>> {
        let facts = || {
            self.with(vm.id, |machine| machine.answers = true);
            Ok(GuestFacts {
                agent: "1".into(),
                kernel: "6.1".into(),
                boot_id: "b".into(),
                init: None,
                warnings: Vec::new(),
            })
        };
        let silent = || Err(BootError::Silent { seconds: 1, console: vec!["last words".into()] });
        Box::pin(async move {
            self.assert_intended(vm.id).await;
            cx.cancellable(self.world.act(Effect::Boot, silent, facts)).await?
        })
    }

    fn shutdown<'a>(&'a self, vm: &'a VmRow) -> BoxFuture<'a, bool> {
        let end = || {
            self.with(vm.id, |machine| {
                machine.alive = false;
                machine.end.get_or_insert(EndReason::Stopped);
            });
            true
        };
        Box::pin(async move {
            self.assert_intended(vm.id).await;
            self.world.act(Effect::Shutdown, || false, end).await
        })
    }

    fn ended<'a>(&'a self, vm: &'a VmRow) -> BoxFuture<'a, EndReason> {
        Box::pin(self.world.ended(vm.id))
    }

    fn network_ended<'a>(&'a self, vm: &'a VmRow) -> BoxFuture<'a, String> {
        Box::pin(async {
            if vm.spec.net == NetMode::None {
                return std::future::pending().await;
            }
            loop {
                let changed = self.world.changed.notified();
                if !self.world.present(vm.id).net_alive {
                    return "signal 9 ended it".into();
                }
                changed.await;
            }
        })
    }

    fn session(&self, id: VmId) -> BoxFuture<'_, Result<Session, crate::guest::SessionError>> {
        Box::pin(async move {
            let answers = self.with(id, |machine| machine.alive && machine.answers);
            let (ours, theirs) = UnixStream::pair().unwrap();
            let world = Arc::clone(&self.world);
            tokio::spawn(async move {
                let agent = match world.agent.get() {
                    Some(Agent(serve)) if answers => serve(theirs),
                    _ => Box::pin(greet(theirs, answers)),
                };
                tokio::select! {
                    () = agent => {}
                    _ = world.ended(id), if answers => {}
                }
            });
            Session::open(ours).await
        })
    }

    fn vmm_pid(&self, id: VmId) -> Option<u32> {
        self.with(id, |machine| machine.alive.then_some(1))
    }

    fn memory_taken(&self, _: VmId) -> Option<ByteSize> {
        None
    }

    fn disk_room(&self, _: VmId) -> Option<DiskRoom> {
        None
    }

    fn doubt_kvm(&self, _: VmmKind) {
        self.world.kvm_believed.store(false, Ordering::Relaxed);
    }

    fn choose<'a>(&'a self, _: &'a VmRow, _: &'a OpCx) -> BoxFuture<'a, Result<BootRow, ChooseError>> {
        Box::pin(async {
            let kvm = self.world.kvm_believed.load(Ordering::Relaxed);
            Ok(BootRow {
                vmm: VmmKind::Qemu,
                accel: if kvm { Accel::Kvm } else { Accel::Tcg },
                reason: "a test".into(),
                started_ms: 1,
                kernel_release: String::new(),
                boot_id: String::new(),
                warnings: Vec::new(),
            })
        })
    }

    fn used(&self, _: VmId) -> u64 {
        4096
    }

    fn logs(&self) -> Vec<Log> {
        Vec::new()
    }

    fn console(&self, id: VmId, boot: u32) -> PathBuf {
        let folder = self.world.consoles.get().cloned().unwrap_or_else(|| PathBuf::from("/nowhere"));
        folder.join(format!("{id}.{boot}"))
    }

    fn groups(&self) -> Result<&Groups, &NoGroups> {
        Err(&NoGroups::NoTree)
    }

    fn tidy(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn usage(&self, id: VmId) -> BoxFuture<'_, Result<Usage, UsageError>> {
        Box::pin(async move {
            self.with(id, |machine| machine.alive).then_some(()).ok_or(UsageError::Gone)?;
            let host = HostUsage { cpu: Duration::from_secs(3), resident: ByteSize::mib(100), proportional: None };
            let disk =
                DiskStats { name: "image".into(), read: ByteSize(4096), written: ByteSize(0), reads: 1, writes: 0 };
            Ok(Usage { host, guest: None, disks: vec![disk], vsock: None })
        })
    }

    fn processor_time(&self, _: VmId) -> BoxFuture<'_, Result<Duration, UsageError>> {
        Box::pin(async { Ok(Duration::from_secs(3)) })
    }

    fn user_net(&self) -> Result<(), NoUserNet> {
        Ok(())
    }
}

/// An agent that greets, and no more; or one that hangs up.
async fn greet(mut stream: UnixStream, answers: bool) {
    let mut hunt = Hunt::for_host();
    let mut buffer = [0; 64];
    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
        if let Some((greeting, _)) = hunt.feed(&buffer[..n]).filter(|_| answers) {
            stream.write_all(&greeting.to_host()).await.unwrap();
        }
        if !answers {
            return;
        }
    }
}
