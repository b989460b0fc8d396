//! The protocols by which verbs, pulls and reconcile keep out of each other's way, under shuttle: each test runs the
//! product's own code in thousands of schedules, and each kind of check is first shown to find a bug that is planted.
//!
//! `BANGER_SEED=N` runs the schedules of that seed again; `BANGER_SOAK=1` runs many more.

mod keyed;
mod names;
mod prune;
mod shared;
mod uses;
pub(super) mod verbs;

use shuttle::{Config, FailurePersistence, Runner, scheduler::RandomScheduler};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// How many schedules each protocol is tried in.
const SCHEDULES: usize = 10_000;

/// The number that all chance in a test comes from: a new one each time, or that of `BANGER_SEED`.
pub(super) fn seed() -> u64 {
    let given = std::env::var("BANGER_SEED").ok().map(|seed| seed.parse().expect("BANGER_SEED is a number"));
    let [a, b, c, d, ..] = crate::clock::entropy();
    given.unwrap_or_else(|| u32::from_le_bytes([a, b, c, d]).into())
}

/// Whether there is time.
pub(super) fn soak() -> bool {
    std::env::var_os("BANGER_SOAK").is_some()
}

/// Runs `test` in schedules of shuttle's choice; a failed assertion in any of them, and any task that waits for ever, fails.
fn explore(what: &str, test: impl Fn() + Send + Sync + 'static) {
    let (seed, schedules) = (seed(), if soak() { 20 * SCHEDULES } else { SCHEDULES });
    // First, for whoever reads of a failure.
    println!("schedules of {what}: seed {seed}");
    let ran = runner(seed, schedules).run(test);
    println!("schedules of {what}: {ran} ran");
}

/// Runs a `test` of something that is broken until it fails, which it must.
fn must_fail(what: &str, test: impl Fn() + Send + Sync + 'static) {
    let tried = Arc::new(AtomicUsize::new(0));
    let counted = {
        let tried = Arc::clone(&tried);
        move || {
            tried.fetch_add(1, Ordering::Relaxed);
            test();
        }
    };
    let found = catch_unwind(AssertUnwindSafe(|| runner(seed(), SCHEDULES).run(counted))).is_err();
    assert!(found, "{what}: not found in {SCHEDULES} schedules");
    println!("schedules of {what}: found in schedule {}", tried.load(Ordering::Relaxed));
}

pub(super) fn runner(seed: u64, schedules: usize) -> Runner<RandomScheduler> {
    let mut config = Config::new();
    // SQLite, and what is built without optimisation.
    config.stack_size = 1 << 20;
    config.failure_persistence = FailurePersistence::None;
    Runner::new(RandomScheduler::new_from_seed(seed, schedules), config)
}

/// A number below `n`, of the schedule's own chance.
pub(super) fn below(n: u32) -> u32 {
    use shuttle::rand::Rng;
    shuttle::rand::thread_rng().gen_range(0..n)
}

/// Waits for `work` in so many steps, then leaves.
async fn steps<T>(work: impl Future<Output = T>, steps: u32) -> Option<T> {
    let mut work = std::pin::pin!(work);
    for _ in 0..steps {
        if let std::task::Poll::Ready(value) = futures_util::poll!(&mut work) {
            return Some(value);
        }
        shuttle::future::yield_now().await;
    }
    None
}
