//! Every verb, with every effect on the host made to go wrong on either side, by an error or by the daemon's death; then
//! one look by a daemon, and what is there is what is on record.

use super::*;
use crate::{
    host::fake::{Effect, Fault, How, When},
    resource::Resource,
};

const VERBS: [(Verb, Target); 7] = [
    (Verb::Create, Target::Absent),
    (Verb::Start, Target::Stopped),
    (Verb::Stop, Target::Running),
    (Verb::Kill, Target::Running),
    (Verb::Restart, Target::Running),
    (Verb::Delete, Target::Stopped),
    (Verb::Delete, Target::Running),
];

/// The effects that a verb has when all goes well.
fn effects(verb: Verb) -> Vec<Effect> {
    let build = |target| resource::up_to(target).map(Effect::Ensure);
    let remove = |target| resource::beyond(target).map(Effect::Remove);
    match verb {
        Verb::Create => build(Target::Stopped).collect(),
        Verb::Start => build(Target::Running).chain([Effect::Boot]).collect(),
        Verb::Stop => [Effect::Shutdown].into_iter().chain(remove(Target::Stopped)).collect(),
        Verb::Kill => remove(Target::Stopped).collect(),
        Verb::Restart => [Verb::Stop, Verb::Start].into_iter().flat_map(effects).collect(),
        Verb::Delete => remove(Target::Absent).collect(),
    }
}

/// Where a verb ends up once all is settled.
fn settled(verb: Verb, done: bool, fault: Fault) -> Target {
    match (verb, done) {
        // Killed before it touched the boot that was: that boot goes on.
        (Verb::Restart, false) if (fault.effect, fault.when) == (Effect::Shutdown, When::Before) => Target::Running,
        (Verb::Create, true) => Target::Stopped,
        (Verb::Create, false) => Target::Absent,
        (Verb::Start | Verb::Restart, true) => Target::Running,
        (Verb::Start | Verb::Restart | Verb::Stop | Verb::Kill, _) => Target::Stopped,
        (Verb::Delete, _) => Target::Absent,
    }
}

async fn case(verb: Verb, from: Target, faults: Vec<Fault>) {
    let bench = Bench::new();
    let app = bench.daemon();
    arrange(&app, from).await;
    for fault in &faults {
        bench.world.plant(*fault);
    }
    let acting = tokio::spawn({
        let app = Arc::clone(&app);
        async move { act(&app, verb).await }
    });
    let abort = acting.abort_handle();
    let (done, crashed) = tokio::select! {
        acted = tokio::time::timeout(BOUND, acting) => match acted {
            Ok(acted) => (acted.unwrap().is_ok(), false),
            Err(_) => panic!("{verb} from {from:?} with {faults:?} hangs"),
        },
        () = bench.world.reached.notified() => (false, true),
    };
    assert!(bench.world.spent(), "{verb} from {from:?} never meets {faults:?}");
    let app = match crashed {
        true => {
            abort.abort();
            kill(app);
            bench.daemon()
        }
        false => app,
    };
    look(&app).await;
    bench.assert_settled(&app).await;
    let reached = app.db.vm_named(&name("box")).await.unwrap().map_or(Target::Absent, |vm| vm.target);
    assert_eq!(reached, settled(verb, done, faults[0]), "{verb} from {from:?} with {faults:?}");
    // A second look finds nothing to do.
    look(&app).await;
    bench.assert_settled(&app).await;
    kill(app);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_the_next_look_settles_it() {
    let mut cases = tokio::task::JoinSet::new();
    for (verb, from) in VERBS {
        for effect in effects(verb) {
            for when in [When::Before, When::After] {
                for how in [How::Fails, How::Crashes] {
                    cases.spawn(case(verb, from, vec![Fault { effect, when, how }]));
                }
            }
        }
    }
    assert_eq!(cases.len(), 4 * (2 + 7 + 5 + 4 + 12 + 6 + 6));
    cases.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_on_the_way_back_is_settled_too() {
    let mut cases = tokio::task::JoinSet::new();
    for (verb, from) in [(Verb::Create, Target::Absent), (Verb::Start, Target::Stopped)] {
        let (last, back) = match verb {
            Verb::Create => (Effect::Ensure(Resource::Layer), Target::Absent),
            _ => (Effect::Boot, Target::Stopped),
        };
        let first = Fault { effect: last, when: When::After, how: How::Fails };
        for resource in resource::beyond(back) {
            for when in [When::Before, When::After] {
                for how in [How::Fails, How::Crashes] {
                    cases.spawn(case(verb, from, vec![first, Fault { effect: Effect::Remove(resource), when, how }]));
                }
            }
        }
    }
    assert_eq!(cases.len(), 4 * (6 + 4));
    cases.join_all().await;
}
