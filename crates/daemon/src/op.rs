//! Running operations: who they are, what is heard of them, and how they are told to end.
//!
//! An operation runs in a task of its own, so it does not die with the request that began it. The request holds the
//! receiving end of its events; when the client goes, that end is dropped, and [`OpCx::client_gone`] resolves. What an
//! operation does about it depends on how far it is: before its intent is on disk it just stops.

use crate::task::Mutex;
use banger_model::{
    OpId,
    api::{
        doctor::Check,
        op::{OpEvent, OperationView, Stage, StageEvent, VmPlan},
    },
};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{Arc, MutexGuard, Weak},
};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

/// Events that may wait for a slow client. An operation has a few dozen stages and notes at most, so a client that does
/// not read at all cannot hold one up.
const QUEUE: usize = 1024;
/// Of these, how many may be taken by progress: what does not fit is dropped, since the next one says more.
const PROGRESS_QUEUE: usize = 64;

/// What an operation knows of itself.
#[derive(Debug, Clone)]
pub(crate) struct OpCx {
    shared: Arc<Shared>,
    events: mpsc::Sender<OpEvent>,
}

#[derive(Debug)]
struct Shared {
    id: OpId,
    what: String,
    begun_ms: u64,
    cancel: CancellationToken,
    stage: Mutex<Option<StageEvent>>,
    registry: Operations,
}

/// The operations that are open now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Operations {
    /// Cancelled when the daemon is to end: nothing is prepared any more.
    stopping: CancellationToken,
    /// Told whenever one has ended.
    ended: Arc<Notify>,
    open: Arc<Mutex<BTreeMap<OpId, Weak<Shared>>>>,
}

/// An operation of that id is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an operation {0} is open already")]
pub(crate) struct Open(pub(crate) OpId);

/// The operation was told to end, or the only client that wanted it has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cancelled")]
pub(crate) struct Cancelled;

impl Operations {
    /// Begins one; its events come out of the receiver.
    ///
    /// # Errors
    /// When one of that id is open: what is logged and told of two could not be told apart.
    pub(crate) fn begin(&self, id: OpId, what: String) -> Result<(OpCx, mpsc::Receiver<OpEvent>), Open> {
        let mut open = self.lock();
        let Entry::Vacant(place) = open.entry(id) else { return Err(Open(id)) };
        let (events, receiver) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared {
            id,
            what: what.clone(),
            begun_ms: crate::clock::now_ms(),
            cancel: CancellationToken::new(),
            stage: Mutex::new(None),
            registry: self.clone(),
        });
        place.insert(Arc::downgrade(&shared));
        drop(open);
        let _ = events.try_send(OpEvent::Begun { op: Some(id), what });
        Ok((OpCx { shared, events }, receiver))
    }

    /// All that are open, oldest first.
    pub(crate) fn list(&self) -> Vec<OperationView> {
        // Upgraded references are dropped after the lock: the last one would take it.
        let open: Vec<_> = self.lock().values().filter_map(Weak::upgrade).collect();
        let mut views: Vec<_> = open
            .iter()
            .map(|shared| OperationView {
                op: shared.id,
                what: shared.what.clone(),
                stage: shared.stage.lock().clone(),
                begun_ms: shared.begun_ms,
            })
            .collect();
        views.sort_by_key(|view| view.begun_ms);
        views
    }

    /// Tells one to end; false when there is none of that id.
    pub(crate) fn cancel(&self, id: OpId) -> bool {
        let found = self.lock().get(&id).and_then(Weak::upgrade);
        found.is_some_and(|shared| {
            shared.cancel.cancel();
            true
        })
    }

    /// Resolves when the next one has ended, or at once when one has since the last call.
    pub(crate) async fn one_ended(&self) {
        self.ended.notified().await;
    }

    /// Ends whatever may be abandoned, now and from now on; what has begun to change the host goes on.
    pub(crate) fn stop_preparing(&self) {
        self.stopping.cancel();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<OpId, Weak<Shared>>> {
        self.open.lock()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.registry.lock().remove(&self.id);
        self.registry.ended.notify_one();
    }
}

impl OpCx {
    /// Its id.
    pub(crate) fn id(&self) -> OpId {
        self.shared.id
    }

    /// Another stage begins. Several resources can be of one stage, which is told once.
    pub(crate) fn stage(&self, stage: Stage, detail: impl Into<String>) {
        let event = Some(StageEvent { stage, detail: detail.into() });
        let mut current = self.shared.stage.lock();
        if *current == event {
            return;
        }
        current.clone_from(&event);
        drop(current);
        if let Some(event) = event {
            tracing::info!(stage = ?event.stage, detail = event.detail, "stage");
            self.tell(OpEvent::Stage(event));
        }
    }

    /// How far the stage is. Dropped when the client is slow.
    pub(crate) fn progress(&self, done: u64, total: Option<u64>) {
        if self.events.capacity() > QUEUE - PROGRESS_QUEUE {
            self.tell(OpEvent::Progress { done, total });
        }
    }

    /// Something the user should know.
    pub(crate) fn note(&self, text: impl Into<String>) {
        let text = text.into();
        tracing::info!(text, "note");
        self.tell(OpEvent::Note { text });
    }

    /// What an examination of the host has found.
    pub(crate) fn check(&self, check: Check) {
        tracing::info!(name = check.name, outcome = ?check.outcome, detail = check.detail, "check");
        self.tell(OpEvent::Check(check));
    }

    /// What the VM will be made of.
    pub(crate) fn plan(&self, plan: VmPlan) {
        self.tell(OpEvent::Plan(plan));
    }

    /// A client that has gone, or never reads, misses what it is told.
    fn tell(&self, event: OpEvent) {
        let _ = self.events.try_send(event);
    }

    /// The last word.
    pub(crate) async fn finish(&self, event: OpEvent) {
        let _ = self.events.send(event).await;
    }

    /// Resolves when the client that began it has gone.
    pub(crate) async fn client_gone(&self) {
        self.events.closed().await;
    }

    /// Between two steps: whether somebody says that it should end.
    pub(crate) fn boundary(&self) -> Result<(), Cancelled> {
        if self.shared.cancel.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }

    /// Runs something that may simply be dropped, until it is done or nobody wants it any more.
    pub(crate) async fn abandonable<T>(&self, work: impl Future<Output = T>) -> Result<T, Cancelled> {
        tokio::select! {
            biased;
            () = self.shared.cancel.cancelled() => Err(Cancelled),
            () = self.shared.registry.stopping.cancelled() => Err(Cancelled),
            () = self.client_gone() => Err(Cancelled),
            value = work => Ok(value),
        }
    }

    /// Runs something that may be dropped, until it is done or somebody says that it should end; a client that just goes
    /// away does not count.
    pub(crate) async fn cancellable<T>(&self, work: impl Future<Output = T>) -> Result<T, Cancelled> {
        tokio::select! {
            biased;
            () = self.shared.cancel.cancelled() => Err(Cancelled),
            value = work => Ok(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_operation_is_listed_until_it_ends() {
        let operations = Operations::default();
        let id = crate::clock::new_op();
        let (cx, mut events) = operations.begin(id, "create box".into()).unwrap();
        assert_eq!(operations.begin(id, "another".into()).err(), Some(Open(id)));
        cx.stage(Stage::Fetch, "x");
        assert_eq!(operations.list()[0].stage.as_ref().unwrap().stage, Stage::Fetch);
        assert!(operations.cancel(id));
        assert_eq!(cx.cancellable(std::future::pending::<()>()).await, Err(Cancelled));
        drop(cx);
        assert!(operations.list().is_empty() && !operations.cancel(id));
        assert!(matches!(events.recv().await, Some(OpEvent::Begun { .. })));
    }

    #[tokio::test]
    async fn a_client_that_goes_ends_only_what_may_be_abandoned() {
        let (cx, events) = Operations::default().begin(crate::clock::new_op(), "x".into()).unwrap();
        drop(events);
        assert_eq!(cx.abandonable(std::future::pending::<()>()).await, Err(Cancelled));
        assert_eq!(cx.cancellable(async { 7 }).await, Ok(7));
    }

    #[tokio::test]
    async fn the_daemon_s_end_ends_only_what_may_be_abandoned() {
        let operations = Operations::default();
        let (cx, _events) = operations.begin(crate::clock::new_op(), "x".into()).unwrap();
        operations.stop_preparing();
        assert_eq!(cx.abandonable(std::future::pending::<()>()).await, Err(Cancelled));
        assert_eq!(cx.cancellable(async { 7 }).await, Ok(7));
    }
}
