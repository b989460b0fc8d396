//! Shared runs: who joins, who leaves, and what becomes of the work.

use super::{below, explore, must_fail, steps};
use crate::{
    prepare::shared::{Reporter, SharedRuns, Wanted},
    task::{self, Mutex},
};
use shuttle::future::{block_on, spawn};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};
use tokio::sync::watch;

/// How a run ended: which it was, and whether it had been told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ended {
    told: bool,
}

/// What is tried.
trait Runs: Default + Send + Sync + 'static {
    fn join(
        self: Arc<Self>,
        work: impl FnOnce(Wanted) -> Ended + Send + 'static,
    ) -> impl Future<Output = Option<Ended>> + Send;
    fn under_way(&self) -> usize;
}

impl Runs for SharedRuns<&'static str, u32, Ended> {
    async fn join(self: Arc<Self>, work: impl FnOnce(Wanted) -> Ended + Send + 'static) -> Option<Ended> {
        let work = |wanted, reporter: Reporter<u32, Ended>| {
            reporter.report(1);
            work(wanted)
        };
        SharedRuns::join(&self, "key", work, |_| ()).await
    }

    fn under_way(&self) -> usize {
        SharedRuns::under_way(self)
    }
}

/// Several want the same thing; some of them leave. `endless` work ends only when it is told to.
fn share<R: Runs>(stay: u32, leave: u32, endless: bool) {
    let runs = Arc::new(R::default());
    let (at_work, begun) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let tasks: Vec<_> = (0..stay + leave)
        .map(|one| {
            let (runs, at_work, begun) = (Arc::clone(&runs), Arc::clone(&at_work), Arc::clone(&begun));
            let work = move |wanted: Wanted| {
                assert_eq!(at_work.fetch_add(1, Ordering::SeqCst), 0, "two runs of one key overlap");
                begun.fetch_add(1, Ordering::SeqCst);
                let mut left = below(4);
                while !wanted.work.is_cancelled() && (endless || left > 0) {
                    shuttle::thread::yield_now();
                    left = left.saturating_sub(1);
                }
                at_work.fetch_sub(1, Ordering::SeqCst);
                Ended { told: wanted.work.is_cancelled() }
            };
            spawn(async move {
                match one < stay {
                    true => {
                        let ended = runs.join(work).await.expect("nothing panics");
                        assert!(!ended.told, "the work of one who stays was told to end");
                    }
                    false => drop(steps(runs.join(work), 1 + below(4)).await),
                }
            })
        })
        .collect();
    for task in tasks {
        block_on(task).unwrap();
    }
    // Work that was told to end has a moment to do so.
    while at_work.load(Ordering::SeqCst) > 0 || runs.under_way() > 0 {
        shuttle::thread::yield_now();
    }
    assert!(begun.load(Ordering::SeqCst) <= stay + leave);
}

#[test]
fn runs_never_overlap_and_nobody_gets_the_outcome_of_one_that_was_told_to_end() {
    explore("shared runs, some stay", || share::<SharedRuns<_, _, _>>(2, 2, false));
}

#[test]
fn the_last_one_to_leave_ends_the_work() {
    explore("shared runs, all leave", || share::<SharedRuns<_, _, _>>(0, 3, true));
}

/// Planted: a run is joined as long as it is in the list, even when it has been told to end.
#[derive(Default)]
struct JoinsTheDying(Mutex<Option<(Waiter, watch::Receiver<Option<Ended>>)>>);

struct Waiter(Wanted, Arc<AtomicU32>);

impl Drop for Waiter {
    fn drop(&mut self) {
        if self.1.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.work.cancel();
        }
    }
}

impl Runs for JoinsTheDying {
    async fn join(self: Arc<Self>, work: impl FnOnce(Wanted) -> Ended + Send + 'static) -> Option<Ended> {
        let (_waiter, mut state) = {
            let mut run = self.0.lock();
            let (first, state) = run.get_or_insert_with(|| {
                let (wanted, (told, state)) = (Wanted::default(), watch::channel(None));
                let (runs, wants) = (Arc::clone(&self), wanted.clone());
                drop(task::blocking(move || {
                    let ended = work(wants);
                    drop(runs.0.lock().take());
                    told.send_replace(Some(ended));
                }));
                (Waiter(wanted, Arc::default()), state)
            });
            first.1.fetch_add(1, Ordering::SeqCst);
            (Waiter(first.0.clone(), Arc::clone(&first.1)), state.clone())
        };
        state.wait_for(Option::is_some).await.ok().and_then(|ended| *ended)
    }

    fn under_way(&self) -> usize {
        self.0.lock().iter().count()
    }
}

#[test]
fn joining_a_run_that_was_told_to_end_is_found() {
    must_fail("shared runs that are joined when they were told to end", || share::<JoinsTheDying>(2, 2, false));
}
