//! Where work runs, and where two pieces of it may meet.
//!
//! What decides who may do what at the same time ([`crate::locks`], [`crate::prepare`], the database, the verbs) reaches
//! tokio's tasks and threads, and memory that they share, through here only. Tests can so run that very code under shuttle,
//! which tries schedules instead of leaving them to chance: each function here is a point where another may go first. The
//! locks and channels of `tokio::sync` need no such seam: they know of no runtime, and a step of theirs is one step.

use std::sync::{MutexGuard, PoisonError};
use tracing::Instrument;

/// Memory that several threads use, for moments that hold nobody up. A panic while it was held does not matter to others:
/// what is behind it is changed in single steps.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    /// Waits for a moment.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        #[cfg(test)]
        if let Some(guard) = explored::lock(&self.0) {
            return guard;
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Begins a task that goes on by itself. What it logs belongs to the operation that began it.
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    #[cfg(test)]
    if explored::now() {
        drop(shuttle::future::spawn(task));
        return;
    }
    drop(tokio::spawn(task.in_current_span()));
}

/// Begins work that may block, on a thread of its own. It goes on when nobody waits for its outcome, which is none if it
/// panicked. What it logs belongs to the operation that began it.
pub(crate) fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = Option<T>> + Send {
    let (told, outcome) = tokio::sync::oneshot::channel();
    let work = move || {
        // Nobody may wait for it any more.
        let _ = told.send(work());
    };
    begin(work);
    async { outcome.await.ok() }
}

/// Begins work that may block, on a thread of its own, of which nobody waits for an outcome.
pub(crate) fn begin(work: impl FnOnce() + Send + 'static) {
    #[cfg(test)]
    if explored::now() {
        drop(shuttle::thread::spawn(work));
        return;
    }
    let span = tracing::Span::current();
    drop(tokio::task::spawn_blocking(move || span.in_scope(work)));
}

/// Waits, on a thread of [`blocking`].
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    #[cfg(test)]
    if explored::now() {
        return shuttle::future::block_on(work);
    }
    tokio::runtime::Handle::current().block_on(work)
}

/// Waits for a moment to come.
pub(crate) async fn sleep_until(moment: tokio::time::Instant) {
    #[cfg(test)]
    if explored::now() {
        return shuttle::future::yield_now().await;
    }
    tokio::time::sleep_until(moment).await;
}

/// The same, while shuttle explores schedules on this thread.
#[cfg(test)]
pub(crate) mod explored {
    use std::sync::{MutexGuard, TryLockError};

    /// Whether it does.
    pub(super) fn now() -> bool {
        shuttle::current::try_get_current_task().is_some()
    }

    /// What is random is so by the schedule's seed.
    pub(crate) fn entropy() -> Option<[u8; 16]> {
        now().then(|| shuttle::rand::Rng::r#gen(&mut shuttle::rand::thread_rng()))
    }

    /// All tasks share one thread, so a lock that another holds must be waited for by letting that one go on.
    pub(super) fn lock<T>(mutex: &std::sync::Mutex<T>) -> Option<MutexGuard<'_, T>> {
        if !now() || std::thread::panicking() {
            return None;
        }
        loop {
            shuttle::thread::yield_now();
            match mutex.try_lock() {
                Ok(guard) => return Some(guard),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => {}
            }
        }
    }
}
