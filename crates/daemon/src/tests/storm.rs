//! Storms: sixteen clients do this and that to eight VMs, some of them are cut off or change their minds, VMMs end by
//! themselves, and reconcile looks all the time. Each client was told what some order of one after the other would have told
//! it ([`super::serial`]), and in the end the host is as that order leaves it.
//!
//! They are storms of shuttle's, so `BANGER_SEED=N` makes the same things happen again; `BANGER_SOAK=1` makes many more.

use super::{
    schedules::{
        below, runner, seed, soak,
        verbs::{Furniture, History, VERBS, settle},
    },
    serial::{Call, Outcome},
    *,
};
use crate::task;
use shuttle::future::{block_on, spawn, yield_now};
use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};
use tokio_util::task::TaskTracker;

const CLIENTS: usize = 16;
const NAMES: u32 = 8;
/// What all clients do, taken together, in one storm.
const STEPS: usize = 160;
/// Ten thousand steps in all.
const STORMS: usize = 63;

/// What was told how often, in all storms.
#[derive(Default)]
struct Tally {
    /// Never held while another may go first.
    answers: Mutex<BTreeMap<String, usize>>,
    cut_off: AtomicUsize,
    ends: AtomicUsize,
}

struct Storm {
    app: Arc<App>,
    world: Arc<World>,
    histories: [History; NAMES as usize],
    next: AtomicUsize,
    over: AtomicBool,
    under_way: TaskTracker,
    tally: Arc<Tally>,
}

fn vm_name(which: u32) -> VmName {
    name(&format!("box{which}"))
}

impl Storm {
    /// One thing that a client does.
    async fn step(self: &Arc<Self>, id: usize) {
        let which = below(NAMES);
        if below(12) == 0 {
            self.tally.ends.fetch_add(1, Ordering::Relaxed);
            return self.histories[which as usize].end(&self.app, &self.world, &vm_name(which), id).await;
        }
        let call = match below(8) {
            0 => Call::DeleteAtRest,
            1 | 2 => Call::Verb(Verb::Create),
            _ => Call::Verb(VERBS[below(6) as usize]),
        };
        let (cx, events) = begin(&self.app);
        let op = cx.id();
        let (told, answered) = tokio::sync::oneshot::channel();
        let storm = Arc::clone(self);
        // As the API does: an operation does not die with the request that began it.
        task::spawn(self.under_way.track_future(async move {
            let history = &storm.histories[which as usize];
            let outcome = history.act(&storm.app, &vm_name(which), id, call, &cx).await;
            *storm.tally.answers.lock().unwrap().entry(format!("{outcome:?}")).or_default() += 1;
            let _ = told.send(outcome);
        }));
        let patience = match below(6) {
            0 | 1 => Some(below(12)),
            _ => None,
        };
        for _ in 0..patience.unwrap_or(0) {
            yield_now().await;
        }
        match patience {
            // Cut off: the client is at its next thing while that goes on.
            Some(even) if even % 2 == 0 => {
                self.tally.cut_off.fetch_add(1, Ordering::Relaxed);
                drop(events);
            }
            Some(_) => {
                self.app.operations.cancel(op);
                let _: Outcome = answered.await.unwrap();
            }
            None => drop(answered.await.unwrap()),
        }
    }

    async fn client(self: Arc<Self>) {
        loop {
            let id = self.next.fetch_add(1, Ordering::Relaxed);
            if id >= STEPS {
                return;
            }
            self.step(id).await;
        }
    }

    async fn look(self: Arc<Self>) {
        while !self.over.load(Ordering::Relaxed) {
            reconcile::all(&self.app).await.unwrap();
            yield_now().await;
        }
    }
}

fn storm(furniture: &Furniture, tally: &Arc<Tally>) {
    let world: Arc<World> = Arc::default();
    let app = furniture.daemon(&world);
    let storm = Arc::new(Storm {
        app,
        world,
        histories: Default::default(),
        next: AtomicUsize::default(),
        over: AtomicBool::default(),
        under_way: TaskTracker::new(),
        tally: Arc::clone(tally),
    });
    let looking = spawn(Arc::clone(&storm).look());
    let clients: Vec<_> = (0..CLIENTS).map(|_| spawn(Arc::clone(&storm).client())).collect();
    for client in clients {
        block_on(client).unwrap();
    }
    storm.under_way.close();
    block_on(storm.under_way.wait());
    storm.over.store(true, Ordering::Relaxed);
    block_on(looking).unwrap();
    block_on(async {
        settle(&storm.app).await;
        assert_settled(&storm.app, &storm.world).await;
        for which in 0..NAMES {
            storm.histories[which as usize].check(&storm.app, &vm_name(which)).await;
        }
    });
    storm.app.shutdown.cancel();
}

#[test]
fn what_many_are_told_some_order_would_have_told_them() {
    let (seed, storms) = (seed(), if soak() { 20 * STORMS } else { STORMS });
    println!("storms: seed {seed}");
    let (furniture, tally) = (Furniture::new(), Arc::<Tally>::default());
    let told = Arc::clone(&tally);
    let ran = runner(seed, storms).run(move || storm(&furniture, &tally));
    let count = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    println!("storms: {ran} of {STEPS} steps: {:?}", told.answers.lock().unwrap());
    println!("storms: {} clients were cut off, {} times a VMM was to end", count(&told.cut_off), count(&told.ends));
}
