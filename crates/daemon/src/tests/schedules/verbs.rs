//! Verbs against each other, against reconcile, and against a VMM that ends by itself: the whole daemon on the modelled host,
//! with its database in memory.

use super::{below, explore, must_fail};
use crate::{
    App,
    db::{self, Db, VmRow},
    host::fake::World,
    op::OpCx,
    reconcile, root,
    task::Mutex,
    tests::{
        Modelled, act_with, assert_settled, begin, name, paths_in,
        serial::{self, Call, Event, Outcome, State},
        store,
    },
};
use banger_model::{
    VmName,
    api::vm::EndReason,
    vm::{Status, Verb},
};
use shuttle::future::{block_on, spawn, yield_now};
use std::{path::Path, sync::Arc};

pub(in crate::tests) const VERBS: [Verb; 6] =
    [Verb::Create, Verb::Start, Verb::Stop, Verb::Restart, Verb::Kill, Verb::Delete];

/// What all schedules share: nothing in it changes.
pub(in crate::tests) struct Furniture {
    folder: tempfile::TempDir,
    db: Db,
}

impl Furniture {
    pub(in crate::tests) fn new() -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        store::furnish(folder.path());
        Arc::new(Self { folder, db: db::in_memory() })
    }

    /// Where it stands.
    pub(in crate::tests) fn root(&self) -> &Path {
        self.folder.path()
    }

    /// A daemon, with a database that is as at first.
    pub(in crate::tests) fn daemon(&self, world: &Arc<World>) -> Arc<App> {
        self.db.clear();
        let agent = store::agent(self.root());
        let parts = Modelled { world: Arc::clone(world), agent, db: Some(self.db.clone()) };
        root::assemble(paths_in(self.root()), &parts).unwrap()
    }
}

/// What one VM went through.
#[derive(Default)]
pub(in crate::tests) struct History(Mutex<Vec<Event>>);

impl History {
    pub(in crate::tests) fn began(&self, id: usize, call: Call) {
        self.0.lock().push(Event::Began(id, call));
    }

    pub(in crate::tests) fn answered(&self, id: usize, outcome: Outcome) {
        self.0.lock().push(Event::Answered(id, outcome));
    }

    /// The call, from beginning to end.
    pub(in crate::tests) async fn act(&self, app: &App, name: &VmName, id: usize, call: Call, cx: &OpCx) -> Outcome {
        self.began(id, call);
        let answer = act_with(app, name, call, cx).await;
        let outcome = Outcome::of(&answer);
        assert_ne!(outcome, Outcome::Wrong, "{call:?}: {answer:?}");
        self.answered(id, outcome);
        outcome
    }

    /// The VMM of the VM ends by itself, unless somebody acts on it or there is none.
    pub(in crate::tests) async fn end(&self, app: &App, world: &World, name: &VmName, id: usize) {
        let Ok(vm) = app.named(name).await else { return };
        let Some(_nobody_acts) = app.slots.try_lock(&vm.id) else { return };
        if app.host.vmm_pid(vm.id).is_some() {
            self.began(id, Call::End);
            world.end(vm.id, EndReason::PoweredOff);
            self.answered(id, Outcome::Done);
        }
    }

    /// What became of the VM is what some order leaves.
    pub(in crate::tests) async fn check(&self, app: &App, name: &VmName) {
        let left = app.db.vm_named(name).await.unwrap().map_or(State::Absent, |vm| vm.target.into());
        match serial::check(&self.0.lock()) {
            Ok(possible) => assert!(possible.contains(&left), "{name} is {left:?} and not one of {possible:?}"),
            Err(no_order) => panic!("{name}: what was told last, no order allows: {no_order:#?}"),
        }
    }
}

/// Two clients act on one VM that is there, while reconcile looks and the VMM may end. When `broken`, verbs do not wait for
/// each other.
fn contend(furniture: &Furniture, broken: bool) {
    let world: Arc<World> = Arc::default();
    let app = furniture.daemon(&world);
    let (boxed, history) = (name("box"), Arc::<History>::default());
    let call = async |id: usize, verb: Verb| {
        let (cx, _events) = begin(&app);
        history.act(&app, &boxed, id, Call::Verb(verb), &cx).await;
    };
    block_on(call(0, Verb::Create));
    if below(2) == 1 {
        block_on(call(1, Verb::Start));
    }
    let mut tasks = Vec::new();
    for client in 0..2 {
        let (app, history, boxed) = (Arc::clone(&app), Arc::clone(&history), boxed.clone());
        tasks.push(spawn(async move {
            if broken {
                app.slots.lose();
            }
            let (cx, _events) = begin(&app);
            history.act(&app, &boxed, 2 + client, Call::Verb(VERBS[below(6) as usize]), &cx).await;
        }));
    }
    tasks.push(spawn({
        let (app, history, boxed, world) = (Arc::clone(&app), Arc::clone(&history), boxed.clone(), Arc::clone(&world));
        async move {
            history.end(&app, &world, &boxed, 9).await;
            reconcile::all(&app).await.unwrap();
        }
    }));
    for task in tasks {
        block_on(task).unwrap();
    }
    block_on(async {
        settle(&app).await;
        assert_settled(&app, &world).await;
        history.check(&app, &boxed).await;
    });
    app.shutdown.cancel();
}

/// Looks until nobody acts any more: who watches a VM that has ended may be at it.
pub(in crate::tests) async fn settle(app: &App) {
    loop {
        reconcile::all(app).await.unwrap();
        let vms = app.db.vms().await.unwrap();
        let busy = |vm: &VmRow| vm.operation.is_some() || app.slots.try_lock(&vm.id).is_none();
        if !vms.iter().any(|vm| busy(vm) || app.status(vm) == Status::Degraded) {
            return;
        }
        yield_now().await;
    }
}

#[test]
fn verbs_and_reconcile_never_meet_on_one_vm() {
    let furniture = Furniture::new();
    explore("verbs against each other and reconcile", move || contend(&furniture, false));
}

#[test]
fn verbs_that_do_not_wait_for_each_other_are_found() {
    let furniture = Furniture::new();
    must_fail("verbs that do not wait for each other", move || contend(&furniture, true));
}
