//! What verbs do when all goes well, when they are refused, and when somebody changes their mind.

use super::*;
use crate::host::fake::{Effect, Fault, How, When};
use crate::resource::Resource;
use banger_model::{
    VmId,
    api::vm::EndReason,
    vm::{Denied, Status},
};

#[tokio::test]
async fn a_life_from_create_to_delete() {
    let bench = Bench::new();
    let app = bench.daemon();
    let status = async || app.named(&name("box")).await.map(|vm| app.status(&vm)).ok();
    for (verb, after) in [
        (Verb::Create, Some(Status::Stopped)),
        (Verb::Start, Some(Status::Running)),
        (Verb::Restart, Some(Status::Running)),
        (Verb::Stop, Some(Status::Stopped)),
        (Verb::Start, Some(Status::Running)),
        (Verb::Kill, Some(Status::Stopped)),
        (Verb::Delete, None),
    ] {
        act(&app, verb).await.unwrap();
        bench.assert_settled(&app).await;
        assert_eq!(status().await, after, "{verb}");
    }
}

#[tokio::test]
async fn what_is_already_so_is_told_and_left_alone() {
    let bench = Bench::new();
    let app = bench.daemon();
    for (target, verbs) in [(Target::Running, &[Verb::Start][..]), (Target::Stopped, &[Verb::Stop, Verb::Kill][..])] {
        arrange(&app, target).await;
        let before = app.named(&name("box")).await.unwrap();
        for verb in verbs {
            let (cx, mut events) = begin(&app);
            act_as(&app, *verb, &cx).await.unwrap();
            drop(cx);
            let after = app.named(&name("box")).await.unwrap();
            assert_eq!((after.target, after.boots, &after.last_end), (target, before.boots, &before.last_end));
            let mut notes = Vec::new();
            while let Some(event) = events.recv().await {
                notes.extend(matches!(event, OpEvent::Note { .. }).then_some(event));
            }
            let told = OpEvent::Note { text: format!("box is already {}", app.status(&after)) };
            assert_eq!(notes, [told], "{verb}");
        }
        act(&app, Verb::Kill).await.unwrap();
        act(&app, Verb::Delete).await.unwrap();
    }
    bench.assert_settled(&app).await;
}

#[tokio::test]
async fn boots_are_counted_and_their_ends_noted() {
    let bench = Bench::new();
    let app = bench.daemon();
    arrange(&app, Target::Running).await;
    for (verb, boots, end) in [(Verb::Restart, 2, EndReason::Stopped), (Verb::Kill, 2, EndReason::Killed)] {
        act(&app, verb).await.unwrap();
        let vm = app.named(&name("box")).await.unwrap();
        assert_eq!((vm.boots, vm.last_end.unwrap().reason), (boots, end));
    }
}

#[tokio::test]
async fn a_verb_that_does_not_fit_is_refused_and_changes_nothing() {
    let bench = Bench::new();
    let app = bench.daemon();
    for verb in [Verb::Start, Verb::Stop, Verb::Restart, Verb::Delete] {
        assert!(matches!(act(&app, verb).await, Err(VerbError::NotFound(_))), "{verb}");
    }
    arrange(&app, Target::Running).await;
    let (cx, _events) = begin(&app);
    let denied = verbs::delete::delete(&app, &name("box"), None, false, &cx).await;
    assert!(matches!(denied, Err(VerbError::Denied { denied: Denied::Unfit(Status::Running), .. })), "{denied:?}");
    assert!(matches!(act(&app, Verb::Create).await, Err(VerbError::NameTaken(_))));
    bench.assert_settled(&app).await;
}

#[tokio::test]
async fn a_network_that_dies_is_told_of_and_set_up_again() {
    let bench = Bench::new();
    let app = bench.daemon();
    arrange(&app, Target::Running).await;
    let id = app.named(&name("box")).await.unwrap().id;
    let shown = async || app.view(app.named(&name("box")).await.unwrap()).running.unwrap();
    assert_eq!((shown().await.offline, shown().await.warnings), (false, Vec::new()));
    let failing = Fault { effect: Effect::Ensure(Resource::UserNet), when: When::Before, how: How::Fails };
    for _ in 0..2 {
        // The first that is to take its place does not come up, the second does.
        bench.world.plant(failing);
        bench.world.end_network(id);
        until(&app, |vm| vm.is_some_and(|vm| warns(vm, "signal 9 ended it; it cannot be set up again: planted"))).await;
        assert!(shown().await.offline);
        until(&app, |vm| vm.is_some_and(|vm| warns(vm, "set up again: signal 9"))).await;
        assert!(!shown().await.offline);
    }
    bench.assert_settled(&app).await;
    act(&app, Verb::Restart).await.unwrap();
    assert_eq!(shown().await.warnings, Vec::<String>::new(), "another boot, another network");
    act(&app, Verb::Delete).await.unwrap();
    bench.assert_settled(&app).await;
}

fn warns(vm: &VmRow, of: &str) -> bool {
    let warnings = vm.boot.iter().flat_map(|boot| &boot.warnings);
    warnings.clone().count() == 1 && warnings.clone().all(|warning| warning.contains(of))
}

#[tokio::test]
async fn a_network_that_died_while_no_daemon_ran_is_set_up_again() {
    let bench = Bench::new();
    let first = bench.daemon();
    arrange(&first, Target::Running).await;
    let id = first.named(&name("box")).await.unwrap().id;
    kill(first);
    bench.world.end_network(id);
    let app = bench.daemon();
    look(&app).await;
    until(&app, |vm| vm.is_some_and(|vm| warns(vm, "set up again: signal 9"))).await;
    bench.assert_settled(&app).await;
}

#[tokio::test]
async fn a_name_is_given_once_however_many_ask_at_the_same_time() {
    let bench = Bench::new();
    let app = bench.daemon();
    let asked = futures_util::future::join_all((0..8).map(|_| act(&app, Verb::Create))).await;
    assert_eq!(asked.iter().filter(|asked| asked.is_ok()).count(), 1);
    assert!(asked.iter().flat_map(|asked| asked.as_ref().err()).all(|e| matches!(e, VerbError::NameTaken(_))));
    bench.assert_settled(&app).await;
    assert_eq!(app.db.vms().await.unwrap().len(), 1);
}

#[tokio::test]
async fn names_are_chosen_when_none_is_given() {
    let bench = Bench::new();
    let app = bench.daemon();
    let names = futures_util::future::join_all((0..8).map(|_| async {
        let (cx, mut events) = begin(&app);
        let (vm, _) = create(&app, None, false, &cx).await.unwrap();
        drop(cx);
        let mut planned = None;
        while let Some(event) = events.recv().await {
            if let OpEvent::Plan(plan) = event {
                planned = Some(plan.name);
            }
        }
        assert_eq!(planned.as_ref(), Some(&vm.name), "the plan tells the name");
        vm.name
    }));
    let names: std::collections::BTreeSet<_> = names.await.into_iter().collect();
    assert_eq!(names.len(), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_is_cancelled_goes_back_to_rest() {
    let bench = Bench::new();
    let app = bench.daemon();
    arrange(&app, Target::Stopped).await;
    bench.world.plant(Fault { effect: Effect::Boot, when: When::Before, how: How::Hangs });
    let (cx, _events) = begin(&app);
    let starting = act_as(&app, Verb::Start, &cx);
    let cancelling = async {
        bench.world.reached.notified().await;
        let vm = app.named(&name("box")).await.unwrap();
        assert_eq!(app.status(&vm), Status::Starting);
        let busy = act(&app, Verb::Stop).await;
        assert!(matches!(busy, Err(VerbError::Denied { denied: Denied::Busy(Status::Starting), .. })), "{busy:?}");
        assert!(app.operations.cancel(cx.id()));
    };
    let (started, ()) = tokio::time::timeout(BOUND, async { tokio::join!(starting, cancelling) }).await.unwrap();
    assert!(
        matches!(&started, Err(VerbError::Boot { source: crate::host::BootError::Cancelled(_), .. })),
        "{started:?}"
    );
    bench.assert_settled(&app).await;
}

#[tokio::test]
async fn a_failure_is_told_as_it_was_whatever_happens_on_the_way_back() {
    let bench = Bench::new();
    let app = bench.daemon();
    arrange(&app, Target::Stopped).await;
    bench.world.plant(Fault { effect: Effect::Ensure(Resource::Vmm), when: When::After, how: How::Fails });
    let failed = act(&app, Verb::Start).await.unwrap_err();
    assert_eq!(verbs::chain(&failed), "cannot start box: planted failure of the VMM");
    bench.assert_settled(&app).await;
    let vm = app.named(&name("box")).await.unwrap();
    assert!(matches!(vm.last_end.unwrap().reason, EndReason::NeverReady { message } if message.contains("planted")));
}

#[tokio::test]
async fn a_kvm_that_works_no_more_ends_in_the_next_choice() {
    use banger_model::spec::Accel;
    use std::sync::atomic::Ordering;
    let bench = Bench::new();
    let app = bench.daemon();
    let fails = Fault { effect: Effect::Boot, when: When::Before, how: How::Fails };
    for (before, verb, boots) in [(Target::Running, Verb::Restart, 3), (Target::Stopped, Verb::Start, 2)] {
        arrange(&app, before).await;
        bench.world.kvm_believed.store(true, Ordering::Relaxed);
        bench.world.plant(fails);
        let (cx, mut events) = begin(&app);
        act_as(&app, verb, &cx).await.unwrap();
        drop(cx);
        let vm = app.named(&name("box")).await.unwrap();
        assert_eq!((vm.boot.as_ref().unwrap().accel, vm.boots), (Accel::Tcg, boots), "{verb}");
        let mut told = false;
        while let Some(event) = events.recv().await {
            told |= matches!(&event, OpEvent::Note { text } if text.contains("KVM worked before"));
        }
        assert!(told, "{verb}");
        bench.assert_settled(&app).await;
        if verb == Verb::Restart {
            act(&app, Verb::Kill).await.unwrap();
            act(&app, Verb::Delete).await.unwrap();
        }
    }

    // Where KVM was not used, or still works, the guest is to blame and is not started again.
    act(&app, Verb::Kill).await.unwrap();
    bench.world.plant(fails);
    assert!(matches!(act(&app, Verb::Start).await, Err(VerbError::Boot { .. })));
    assert_eq!(app.named(&name("box")).await.unwrap().boots, 3);
    bench.assert_settled(&app).await;
}

#[tokio::test]
async fn what_cannot_be_removed_is_named_and_removed_later() {
    let bench = Bench::new();
    let app = bench.daemon();
    // Nobody else sees to it meanwhile.
    kill(Arc::clone(&app));
    arrange(&app, Target::Running).await;
    bench.world.plant(Fault { effect: Effect::Remove(Resource::Sockets), when: When::Before, how: How::Fails });
    let failed = act(&app, Verb::Stop).await.unwrap_err();
    assert!(failed.to_string().contains("socket folder"), "{failed}");
    drop(app);
    let app = bench.daemon();
    let view = app.view(app.named(&name("box")).await.unwrap());
    assert_eq!(view.status, Status::Degraded);
    assert_eq!(view.left.iter().map(|left| left.part.as_str()).collect::<Vec<_>>(), ["socket folder"]);
    let unfit = act(&app, Verb::Start).await;
    assert!(matches!(unfit, Err(VerbError::Denied { denied: Denied::Unfit(Status::Degraded), .. })), "{unfit:?}");
    look(&app).await;
    bench.assert_settled(&app).await;
    let view = app.view(app.named(&name("box")).await.unwrap());
    assert_eq!((view.status, view.left), (Status::Stopped, Vec::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_ends_by_itself_leaves_the_vm_at_rest() {
    let bench = Bench::new();
    let app = bench.daemon();
    arrange(&app, Target::Running).await;
    let id = app.named(&name("box")).await.unwrap().id;
    bench.world.end(id, EndReason::Panicked { message: "oops".into() });
    until(&app, |vm| vm.is_some_and(|vm| vm.target == Target::Stopped)).await;
    bench.assert_settled(&app).await;
    let end = app.named(&name("box")).await.unwrap().last_end.unwrap();
    assert_eq!((end.boot, end.reason), (1, EndReason::Panicked { message: "oops".into() }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_daemon_adopts_what_runs_and_sees_its_end() {
    let bench = Bench::new();
    let first = bench.daemon();
    arrange(&first, Target::Running).await;
    kill(first);
    let app = bench.daemon();
    look(&app).await;
    let vm = app.named(&name("box")).await.unwrap();
    assert_eq!(app.status(&vm), Status::Running);
    bench.world.end(vm.id, EndReason::PoweredOff);
    until(&app, |vm| vm.is_some_and(|vm| vm.target == Target::Stopped)).await;
    assert_eq!(app.named(&name("box")).await.unwrap().last_end.unwrap().reason, EndReason::PoweredOff);
}

#[tokio::test]
async fn a_vm_goes_with_the_client_that_it_is_tied_to() {
    let bench = Bench::new();
    let app = bench.daemon();
    let (cx, _events) = begin(&app);
    let (_, lease) = create(&app, Some("box"), true, &cx).await.unwrap();
    act(&app, Verb::Start).await.unwrap();
    look(&app).await;
    assert_eq!(app.db.vms().await.unwrap().len(), 1, "its client is there");
    drop(lease);
    look(&app).await;
    bench.assert_settled(&app).await;
    assert!(app.db.vms().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_a_dead_daemon_left_is_settled_by_what_is_there() {
    for (noted, target) in [(true, Target::Running), (false, Target::Stopped)] {
        let bench = Bench::new();
        let first = bench.daemon();
        arrange(&first, Target::Running).await;
        let vm = first.named(&name("box")).await.unwrap();
        if !noted {
            let boot = crate::db::BootRow { boot_id: String::new(), ..vm.boot.unwrap() };
            first.db.note_boot(vm.id, boot).await.unwrap();
        }
        let operation = crate::db::OperationRow::begin(crate::clock::new_op(), Verb::Start);
        first.db.intend(vm.id, Target::Running, operation, None).await.unwrap();
        kill(first);
        let app = bench.daemon();
        look(&app).await;
        bench.assert_settled(&app).await;
        assert_eq!(app.named(&name("box")).await.unwrap().target, target, "noted: {noted}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_of_a_client_that_waited_for_its_boot_goes_with_the_daemon() {
    let bench = Bench::new();
    let first = bench.daemon();
    let (cx, _events) = begin(&first);
    let (_, _lease) = create(&first, Some("box"), true, &cx).await.unwrap();
    bench.world.plant(Fault { effect: Effect::Boot, when: When::After, how: How::Crashes });
    let starting = tokio::spawn({
        let first = Arc::clone(&first);
        async move { act(&first, Verb::Start).await }
    });
    bench.world.reached.notified().await;
    starting.abort();
    kill(first);
    let app = bench.daemon();
    look(&app).await;
    bench.assert_settled(&app).await;
    assert!(app.db.vms().await.unwrap().is_empty());
}

#[tokio::test]
async fn another_daemon_removes_what_was_tied_to_a_client_of_the_first() {
    let bench = Bench::new();
    let first = bench.daemon();
    let (cx, _events) = begin(&first);
    let (_, _lease) = create(&first, Some("box"), true, &cx).await.unwrap();
    act(&first, Verb::Start).await.unwrap();
    kill(first);
    let app = bench.daemon();
    look(&app).await;
    bench.assert_settled(&app).await;
    assert!(app.db.vms().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_no_row_owns_is_removed() {
    let bench = Bench::new();
    let app = bench.daemon();
    arrange(&app, Target::Stopped).await;
    bench.world.strand(VmId::from_entropy([9; 16]), Target::Running);
    bench.world.strand(VmId::from_entropy([8; 16]), Target::Stopped);
    look(&app).await;
    bench.assert_settled(&app).await;
}

#[tokio::test]
async fn an_image_without_a_name_goes_when_no_vm_needs_it() {
    let bench = Bench::new();
    let app = bench.daemon();
    arrange(&app, Target::Stopped).await;
    let digest = app.named(&name("box")).await.unwrap().spec.image_digest;
    let names = app.prepare.store().image_names();
    for entry in std::fs::read_dir(names).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    assert!(app.prepare.prune_images(app.image_users()).await.unwrap().is_empty(), "a VM needs it");
    act(&app, Verb::Delete).await.unwrap();
    assert_eq!(app.prepare.prune_images(app.image_users()).await.unwrap(), [digest]);
}

#[tokio::test]
async fn a_kernel_without_a_name_goes_when_no_vm_needs_it() {
    let bench = Bench::new();
    let app = bench.daemon();
    arrange(&app, Target::Stopped).await;
    let digest = app.named(&name("box")).await.unwrap().spec.kernel_digest;
    assert!(app.prepare.prune_kernels(app.kernel_users()).await.unwrap().is_empty(), "it has a name");
    std::fs::remove_file(app.prepare.store().kernel_names().join("debian.json")).unwrap();
    assert!(app.prepare.prune_kernels(app.kernel_users()).await.unwrap().is_empty(), "a VM needs it");
    act(&app, Verb::Delete).await.unwrap();
    assert_eq!(app.prepare.prune_kernels(app.kernel_users()).await.unwrap(), [digest]);
}

#[tokio::test]
async fn an_initramfs_goes_with_its_kernel_and_with_its_agent() {
    let bench = Bench::new();
    let app = bench.daemon();
    arrange(&app, Target::Running).await;
    let there = || std::fs::read_dir(store::data(bench.folder.path()).join("initramfs")).unwrap().count();
    assert_eq!(there(), 1);
    let agent = store::agent(bench.folder.path());
    let mut other = std::fs::read(&agent).unwrap();
    other.push(0);
    std::fs::write(&agent, other).unwrap();
    act(&app, Verb::Kill).await.unwrap();
    act(&app, Verb::Start).await.unwrap();
    assert_eq!(there(), 2);
    assert_eq!(app.prepare.prune_initramfs().await.unwrap(), 0, "somebody may be about to boot it");
    kill(app);
    let app = bench.daemon();
    assert_eq!((app.prepare.prune_initramfs().await.unwrap(), there()), (1, 1));
    act(&app, Verb::Kill).await.unwrap();
    act(&app, Verb::Start).await.unwrap();
    act(&app, Verb::Delete).await.unwrap();
    std::fs::remove_file(app.prepare.store().kernel_names().join("debian.json")).unwrap();
    assert_eq!(app.prepare.prune_kernels(app.kernel_users()).await.unwrap().len(), 1);
    assert_eq!((app.prepare.prune_initramfs().await.unwrap(), there()), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_a_vm_needs_stays() {
    let bench = Bench::new();
    let app = bench.daemon();
    let image = store::IMAGE.parse().unwrap();
    let delete = async || {
        let (cx, _events) = begin(&app);
        app.prepare.delete_image(&image, app.image_users(), &cx).await
    };
    arrange(&app, Target::Stopped).await;
    let refused = delete().await.unwrap_err().to_string();
    assert!(refused.contains("in use by box"), "{refused}");
    act(&app, Verb::Delete).await.unwrap();
    assert!(delete().await.unwrap());
    assert!(app.prepare.find_image(&image).await.is_err());
}
