//! One kind of shared thing: its running jobs and the locks of its names.

use super::{
    PrepareError,
    seen::{Relay, Seen, Witness},
    shared::SharedRuns,
};
use crate::{
    locks::{Held, Locks},
    op::OpCx,
    task,
};
use banger_image::{cancel::Cancel, progress::Progress};
use banger_model::api::op::Stage;
use std::{fmt::Display, hash::Hash, sync::Arc};
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};

/// Jobs `J` on things called `N` that make a `V` or fail with an `E`.
pub(crate) struct Shelf<J, N, V, E> {
    runs: Arc<SharedRuns<J, Seen, Outcome<V, E>>>,
    names: Arc<Locks<N>>,
    /// Held for reading by whatever is at work.
    work: Arc<RwLock<()>>,
}

/// Nothing when the work was told to end before it began.
type Outcome<V, E> = Option<Result<V, Arc<E>>>;

impl<J: Eq + Hash, N, V, E> Default for Shelf<J, N, V, E> {
    fn default() -> Self {
        Self { runs: Arc::default(), names: Arc::default(), work: Arc::default() }
    }
}

impl<J, N, V, E> Shelf<J, N, V, E>
where
    J: Eq + Hash + Clone + Send + Sync + 'static,
    N: Eq + Hash + Clone + Display + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    PrepareError: From<Arc<E>>,
{
    /// Joins the run of `job`, which works on `name`, or begins it; tells `cx` how it goes. The work has the name's lock.
    pub(crate) async fn share(
        &self,
        job: J,
        name: N,
        stage_of: fn(&str) -> Stage,
        cx: &OpCx,
        work: impl FnOnce(&dyn Progress, &Cancel) -> Result<V, E> + Send + 'static,
    ) -> Result<V, PrepareError> {
        let subject = name.to_string();
        let (names, at_work) = (Arc::clone(&self.names), Arc::clone(&self.work));
        let mut relay = Relay::default();
        let run = self.runs.join(
            job,
            move |wanted, reporter| {
                let locks = async { (names.lock(&name).await, at_work.read_owned().await) };
                let _locks = task::block_on(wanted.waits.run_until_cancelled(locks))?;
                let outcome = work(&Witness::new(reporter, stage_of), &wanted.work);
                Some(outcome.map_err(Arc::new))
            },
            |seen| relay.pass(&seen, cx),
        );
        let outcome = cx.abandonable(run).await.inspect_err(|_| {
            cx.note(format!("cancelled: what there is of {subject} so far goes, unless others wait for it"));
        });
        match outcome? {
            Some(Some(outcome)) => Ok(outcome?),
            Some(None) | None => Err(PrepareError::Task { subject }),
        }
    }

    /// Held while no work is under way; none when some is.
    pub(crate) fn try_rest(&self) -> Option<OwnedRwLockWriteGuard<()>> {
        Arc::clone(&self.work).try_write_owned().ok()
    }

    /// How many jobs are under way.
    #[cfg(test)]
    pub(crate) fn under_way(&self) -> usize {
        self.runs.under_way()
    }

    /// The lock of a name, for what is not a shared run.
    pub(crate) async fn lock(&self, name: &N, cx: &OpCx) -> Result<Held, PrepareError> {
        Ok(cx.abandonable(self.names.lock(name)).await?)
    }
}
