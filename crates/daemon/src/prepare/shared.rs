//! One run for all who want the same thing at the same time.
//!
//! The first to ask for a key begins the work; those who ask while it runs share its progress and its outcome. Whoever
//! stops waiting just leaves. When the last one has left, the work is told to end. The next to ask then waits until it
//! really has ended, and begins anew: so no two runs of one key ever overlap.

use crate::task::{self, Mutex};
use banger_image::cancel::Cancel;
use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Weak},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What those who wait see of a run.
#[derive(Debug)]
enum State<P, T> {
    Running(P),
    Ended(Option<T>),
}

struct Run<P, T> {
    state: watch::Receiver<State<P, T>>,
    wanted: Weak<Waiters>,
}

/// Whether the work is wanted: one for what it waits for, one for what it does.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// Cancelled when nobody wants the work any more.
    pub(crate) waits: CancellationToken,
    /// The same, for work that looks up now and then.
    pub(crate) work: Cancel,
}

/// Held by all who wait; the last one to let go tells the work to end.
struct Waiters(Wanted);

impl Drop for Waiters {
    fn drop(&mut self) {
        self.0.work.cancel();
        self.0.waits.cancel();
    }
}

/// All runs of one kind of work.
pub(crate) struct SharedRuns<K, P, T> {
    runs: Mutex<HashMap<K, Run<P, T>>>,
}

/// How the work reports.
pub(crate) struct Reporter<P, T> {
    state: watch::Sender<State<P, T>>,
}

impl<P, T> Reporter<P, T> {
    /// Replaces the progress that those who wait see.
    pub(crate) fn report(&self, progress: P) {
        self.state.send_replace(State::Running(progress));
    }
}

impl<K, P, T> Default for SharedRuns<K, P, T> {
    fn default() -> Self {
        Self { runs: Mutex::default() }
    }
}

impl<K, P, T> SharedRuns<K, P, T>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    P: Clone + Default + Send + Sync + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// Joins the run of `key`, or begins one with `work` on a blocking thread. `None` when the work panicked.
    pub(crate) async fn join(
        self: &Arc<Self>,
        key: K,
        work: impl FnOnce(Wanted, Reporter<P, T>) -> T + Send + 'static,
        mut on_progress: impl FnMut(P),
    ) -> Option<T> {
        let mut work = Some(work);
        loop {
            let (mut state, _wanted) = match self.enter(&key, &mut work) {
                Entered::In(state, wanted) => (state, wanted),
                Entered::Dying(mut state) => {
                    // Nobody wants that run and it has been told so; it is bounded by its own time-outs.
                    let _ = state.wait_for(|state| matches!(state, State::Ended(_))).await;
                    continue;
                }
            };
            loop {
                let step = match &*state.borrow_and_update() {
                    State::Running(progress) => Ok(progress.clone()),
                    State::Ended(outcome) => Err(outcome.clone()),
                };
                match step {
                    Ok(progress) => on_progress(progress),
                    Err(outcome) => return outcome,
                }
                if state.changed().await.is_err() {
                    return None;
                }
            }
        }
    }

    /// How many are under way.
    #[cfg(test)]
    pub(crate) fn under_way(&self) -> usize {
        self.runs.lock().len()
    }

    fn enter<W>(self: &Arc<Self>, key: &K, work: &mut Option<W>) -> Entered<P, T>
    where
        W: FnOnce(Wanted, Reporter<P, T>) -> T + Send + 'static,
    {
        let mut runs = self.runs.lock();
        if let Some(run) = runs.get(key) {
            return match run.wanted.upgrade() {
                Some(wanted) => Entered::In(run.state.clone(), wanted),
                None => Entered::Dying(run.state.clone()),
            };
        }
        let Some(work) = work.take() else {
            // Only reached when `join` loops after a dying run, and it takes the work only here.
            let (_, state) = watch::channel(State::Ended(None));
            return Entered::Dying(state);
        };
        let told = Wanted::default();
        let wanted = Arc::new(Waiters(told.clone()));
        let (sender, state) = watch::channel(State::Running(P::default()));
        runs.insert(key.clone(), Run { state: state.clone(), wanted: Arc::downgrade(&wanted) });
        let end = EndRun { runs: Arc::clone(self), key: key.clone(), state: sender.clone(), outcome: None };
        // Who waits hears of it through the state.
        drop(task::blocking(move || {
            let mut end = end;
            end.outcome = Some(work(told, Reporter { state: sender }));
        }));
        Entered::In(state, wanted)
    }
}

enum Entered<P, T> {
    In(watch::Receiver<State<P, T>>, Arc<Waiters>),
    Dying(watch::Receiver<State<P, T>>),
}

/// Takes a run out of the list and tells the outcome, also when the work panicked.
struct EndRun<K: Eq + Hash, P, T> {
    runs: Arc<SharedRuns<K, P, T>>,
    key: K,
    state: watch::Sender<State<P, T>>,
    outcome: Option<T>,
}

impl<K: Eq + Hash, P, T> Drop for EndRun<K, P, T> {
    fn drop(&mut self) {
        // First out of the list, then the word: whoever hears that it ended finds room for the next run.
        self.runs.runs.lock().remove(&self.key);
        self.state.send_replace(State::Ended(self.outcome.take()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    };
    use tokio::sync::oneshot;

    type Runs = Arc<SharedRuns<&'static str, u32, u32>>;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn those_who_come_while_it_runs_share_it() {
        let runs = Runs::default();
        let begun = Arc::new(AtomicU32::new(0));
        let (go, gate) = std::sync::mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let waiters: Vec<_> = (0..8)
            .map(|_| {
                let (runs, begun, gate) = (Arc::clone(&runs), Arc::clone(&begun), Arc::clone(&gate));
                let (in_, entered) = oneshot::channel();
                let mut in_ = Some(in_);
                let task = tokio::spawn(async move {
                    let work = move |_: Wanted, _: Reporter<u32, u32>| {
                        begun.fetch_add(1, Ordering::SeqCst);
                        gate.lock().unwrap().recv().unwrap();
                        42
                    };
                    runs.join("key", work, |_| {
                        let _ = in_.take().map(|tx| tx.send(()));
                    })
                    .await
                });
                (task, entered)
            })
            .collect();
        let mut tasks = Vec::new();
        for (task, entered) in waiters {
            entered.await.unwrap();
            tasks.push(task);
        }
        go.send(()).unwrap();
        for task in tasks {
            assert_eq!(task.await.unwrap(), Some(42));
        }
        assert_eq!(begun.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_who_leaves_does_not_end_it_and_the_last_one_does() {
        let runs = Runs::default();
        let (told, ended) = oneshot::channel();
        let work = move |wanted: Wanted, _: Reporter<u32, u32>| {
            while !wanted.work.is_cancelled() {
                std::thread::yield_now();
            }
            let _ = told.send(());
            0
        };
        let mut one = Box::pin(runs.join("key", work, |_| ()));
        let mut two = Box::pin(runs.join("key", |_, _| 1, |_| ()));
        assert!(futures_util::poll!(&mut one).is_pending() && futures_util::poll!(&mut two).is_pending());
        drop(one);
        assert!(futures_util::poll!(&mut two).is_pending());
        drop(two);
        ended.await.unwrap();
        // A later one begins anew, after the old run has really ended.
        assert_eq!(runs.join("key", |_, _| 2, |_| ()).await, Some(2));
    }

    #[tokio::test]
    async fn a_panic_in_the_work_is_told_to_all() {
        let runs = Runs::default();
        assert_eq!(runs.join("key", |_, _| panic!("planted"), |_| ()).await, None);
        assert_eq!(runs.join("key", |_, _| 3, |_| ()).await, Some(3));
    }
}
