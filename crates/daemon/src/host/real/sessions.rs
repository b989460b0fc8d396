//! The sessions with the agents of all VMs that run: one a VM, opened when it is first needed, opened anew when it has ended.

use crate::guest::{Session, SessionError};
use banger_model::VmId;
use banger_vmm::{AgentError, process::Vmm};
use futures_util::FutureExt;
use std::{
    collections::HashMap,
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::Mutex as AsyncMutex,
    time::{Instant, timeout, timeout_at},
};

/// The first attempt to be heard takes at most so long; each later one twice as long as the one before.
const FIRST_ATTEMPT: Duration = Duration::from_secs(1);
/// How long the agent of a VM that runs may take to answer a greeting.
const REOPEN_BOUND: Duration = Duration::from_secs(20);

type Place = Arc<AsyncMutex<Option<Session>>>;

/// The sessions.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<VmId, Place>>);

impl Sessions {
    /// The session with a VM's agent; those who want it at the same time share it.
    pub(super) async fn get(&self, id: VmId, vmm: &Vmm) -> Result<Session, SessionError> {
        self.open_within(id, vmm, None, REOPEN_BOUND).await
    }

    /// As [`Sessions::get`], for an agent that may take long to come up, and says on the console when it has.
    pub(super) async fn open_within(
        &self,
        id: VmId,
        vmm: &Vmm,
        console: Option<&Path>,
        bound: Duration,
    ) -> Result<Session, SessionError> {
        let deadline = Instant::now() + bound;
        let place = Arc::clone(self.places().entry(id).or_default());
        let silent = |_| SessionError::Silent(bound);
        let mut held = timeout_at(deadline, place.lock()).await.map_err(silent)?;
        if let Some(session) = held.as_ref().filter(|session| session.closed().now_or_never().is_none()) {
            return Ok(session.clone());
        }
        *held = None;
        let session = timeout_at(deadline, open(vmm, console, bound)).await.map_err(silent)??;
        *held = Some(session.clone());
        Ok(session)
    }

    /// The VM is no more, or has ended.
    pub(super) fn forget(&self, id: VmId) {
        self.places().remove(&id);
    }

    fn places(&self) -> MutexGuard<'_, HashMap<VmId, Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects and greets until the agent answers. A greeting may be lost in a guest that is just coming up, and a stream may
/// end with the agent of the initramfs; neither says anything about the next attempt.
async fn open(vmm: &Vmm, console: Option<&Path>, bound: Duration) -> Result<Session, SessionError> {
    let mut patience = FIRST_ATTEMPT;
    loop {
        let stream = vmm.connect_agent_within(console, bound).await.map_err(|error| match error {
            AgentError::VmmGone(_) => SessionError::Ended,
            AgentError::Late(bound) => SessionError::Silent(bound),
            error => SessionError::Io(io::Error::other(error)),
        })?;
        match timeout(patience, Session::open(stream)).await {
            Ok(Ok(session)) => return Ok(session),
            Ok(Err(error @ SessionError::Version(_))) => return Err(error),
            Ok(Err(error)) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "the agent did not take up the session");
                // It hung up at once, or will: at its own pace.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(_) => tracing::debug!(seconds = patience.as_secs(), "the agent has not answered yet"),
        }
        patience = patience.saturating_mul(2);
    }
}
