//! Going down goes through everything, whatever cannot be removed, and tells all of it.

use super::*;
use crate::{
    host::fake::{Fault, How},
    resource::Resource,
    verbs::VerbError,
};

/// Any set of resources fails to go: all others go, and the error names exactly those that are there.
#[tokio::test]
async fn whatever_cannot_be_removed_all_else_is_and_all_of_it_is_told() {
    let mut tried = 0;
    for (verb, rest) in [(Verb::Stop, Target::Stopped), (Verb::Kill, Target::Stopped), (Verb::Delete, Target::Absent)] {
        let all: Vec<Resource> = resource::beyond(rest).collect();
        for bits in 1..1u32 << all.len() {
            let failing: Vec<Resource> = (0..all.len()).filter(|at| bits & 1 << at != 0).map(|at| all[at]).collect();
            let bench = Bench::new();
            let app = bench.daemon();
            kill(Arc::clone(&app));
            arrange(&app, Target::Running).await;
            for resource in &failing {
                let effect = Effect::Remove(*resource);
                bench.world.plant(Fault { effect, when: When::Before, how: How::Fails });
            }
            bench.world.take_trace();
            let left = match act(&app, verb).await {
                Err(VerbError::LeftOver { left, .. }) => left.into_iter().map(|left| left.resource).collect::<Vec<_>>(),
                other => panic!("{verb} without {failing:?}: {other:?}"),
            };
            let attempted: Vec<_> = bench.world.take_trace();
            assert!(all.iter().all(|resource| attempted.contains(&Effect::Remove(*resource))), "{attempted:?}");
            let row = app.named(&name("box")).await.unwrap();
            let there = app.host.observe(row.id).resources;
            let beyond: Vec<_> = all.iter().copied().filter(|resource| there.contains(resource)).collect();
            assert_eq!(left, beyond, "{verb} without {failing:?}");
            let shown: Vec<_> = row.left.iter().map(|left| left.part.clone()).collect();
            assert_eq!(shown, left.iter().map(Resource::to_string).collect::<Vec<_>>());
            reconcile::all(&app).await.unwrap();
            bench.assert_settled(&app).await;
            tried += 1;
        }
    }
    println!("teardown: {tried} sets of resources that cannot be removed");
}
