//! Prune against `vm run`, against a start, and against a prune: never one that is being made, started or used.

use super::{below, explore, must_fail, verbs::Furniture};
use crate::{
    App,
    api::create_and_start,
    db::VmRow,
    host::fake::World,
    tests::{act, arrange, assert_settled, begin, name},
    verbs::{self, VerbError},
};
use banger_model::{
    ByteSize,
    api::vm::CreateVm,
    vm::{Status, Target, Verb},
};
use shuttle::future::{block_on, spawn, yield_now};
use std::sync::Arc;

/// What `vm prune --force` does: each that is listed is deleted, by its name and its id, unless it is in use by then.
async fn prune(app: &App) -> Vec<VmRow> {
    for _ in 0..below(200) {
        yield_now().await;
    }
    let mut gone = Vec::new();
    for vm in app.prunable().await.unwrap() {
        yield_now().await;
        let (cx, _events) = begin(app);
        match verbs::delete::delete(app, &vm.name, Some(vm.id), false, &cx).await {
            Ok(()) => gone.push(vm),
            Err(VerbError::Denied { .. } | VerbError::NotFound(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    gone
}

/// Makes a VM and starts it, as one request does, or as a client that lets go of it in between.
async fn run(app: Arc<App>, in_one: bool) -> bool {
    let memory = Some(ByteSize::mib(128));
    let request = CreateVm { name: Some(name("box")), memory, start: in_one, ..CreateVm::default() };
    let (cx, _events) = begin(&app);
    let made = create_and_start(Arc::clone(&app), request, cx).await.is_ok();
    made && (in_one || act(&app, Verb::Start).await.is_ok())
}

async fn status(app: &App) -> Option<Status> {
    app.db.vm_named(&name("box")).await.unwrap().map(|vm| app.status(&vm))
}

/// Somebody runs a VM while two prune.
fn contend(furniture: &Furniture, in_one: bool) {
    let world: Arc<World> = Arc::default();
    let app = furniture.daemon(&world);
    let running = spawn(run(Arc::clone(&app), in_one));
    let other = spawn({
        let app = Arc::clone(&app);
        async move { prune(&app).await }
    });
    let pruned = block_on(prune(&app));
    let others = block_on(other).unwrap();
    assert!(block_on(running).unwrap() && pruned.is_empty() && others.is_empty(), "it was pruned while it was made");
    block_on(async {
        assert_eq!(status(&app).await, Some(Status::Running));
        assert_settled(&app, &world).await;
    });
    app.shutdown.cancel();
}

#[test]
fn a_vm_that_is_being_run_is_never_pruned() {
    let furniture = Furniture::new();
    explore("prune against `vm run`", move || contend(&furniture, true));
}

#[test]
fn a_vm_that_is_let_go_of_between_its_making_and_its_start_is_found() {
    let furniture = Furniture::new();
    must_fail("prune against a run in two steps", move || contend(&furniture, false));
}

/// One that rests is started while two prune it: it is gone, and the start says so, or it runs.
#[test]
fn a_vm_at_rest_is_started_or_pruned_and_never_both() {
    let furniture = Furniture::new();
    explore("prune against a start", move || {
        let world: Arc<World> = Arc::default();
        let app = furniture.daemon(&world);
        block_on(arrange(&app, Target::Stopped));
        let starting = spawn({
            let app = Arc::clone(&app);
            async move { act(&app, Verb::Start).await.is_ok() }
        });
        let other = spawn({
            let app = Arc::clone(&app);
            async move { prune(&app).await.len() }
        });
        let pruned = block_on(prune(&app)).len() + block_on(other).unwrap();
        let started = block_on(starting).unwrap();
        assert_eq!(pruned, usize::from(!started), "both or neither");
        block_on(async {
            assert_eq!(status(&app).await, started.then_some(Status::Running));
            assert_settled(&app, &world).await;
        });
        app.shutdown.cancel();
    });
}
