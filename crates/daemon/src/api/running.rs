//! A VM that runs, for as long as somebody uses its guest.

use super::{error::Failure, vms};
use crate::{
    App,
    db::VmRow,
    guest::{Channel, Session, SessionError},
};
use banger_model::{
    api::vm::EndReason,
    vm::{Status, Verb},
    wire::guest::{Reply, Request},
};
use std::{sync::Arc, time::Duration};

/// How long a VM whose agent has gone may take to end: a guest that powers off ends its agent before itself.
const END_BOUND: Duration = Duration::from_secs(10);
/// How many of the console's last lines are told.
const CONSOLE_LINES: usize = 20;

/// A VM that ran when it was looked up, and the session with its guest.
pub(super) struct Running {
    pub(super) app: Arc<App>,
    pub(super) vm: VmRow,
    session: Session,
}

impl Running {
    /// The VM of that name, if it runs.
    pub(super) async fn find(app: &Arc<App>, name: &str) -> Result<Self, Failure> {
        let vm = app.named(&vms::parse(name)?).await?;
        let status = app.status(&vm);
        if status != Status::Running {
            return Err(Failure::NotRunning { vm: vm.name, status });
        }
        match app.host.session(vm.id).await {
            Ok(session) => Ok(Self { app: Arc::clone(app), vm, session }),
            Err(source) => Err(Failure::Guest { vm: vm.name, what: "reach the agent", source }),
        }
    }

    /// Begins something in the guest.
    pub(super) async fn request(&self, what: &'static str, request: Request) -> Result<(Channel, Reply), Failure> {
        match self.session.request(request).await {
            Ok(begun) => Ok(begun),
            Err(error) => Err(self.failed(what, error).await),
        }
    }

    /// What a failed exchange with the agent means.
    pub(super) async fn failed(&self, what: &'static str, error: SessionError) -> Failure {
        match error {
            SessionError::Ended | SessionError::Io(_) => self.lost().await,
            source => Failure::Guest { vm: self.vm.name.clone(), what, source },
        }
    }

    /// Why the session is no more. Waits, within a bound, for the VM's end to be seen.
    pub(super) async fn lost(&self) -> Failure {
        if self.app.shutdown.is_cancelled() {
            return Failure::ShuttingDown;
        }
        if self.session.stalled() {
            let vm = self.vm.name.clone();
            return Failure::Guest { vm, what: "go on", source: SessionError::Stalled };
        }
        let vm = &self.vm;
        let Ok(seen) = tokio::time::timeout(END_BOUND, self.app.host.ended(vm)).await else {
            return Failure::Lost { vm: vm.name.clone() };
        };
        // What a user did says more than what the console shows of it.
        let end = match self.app.db.vm(vm.id).await {
            Ok(None) => EndReason::Killed,
            Ok(Some(row)) => match (row.operation.map(|operation| operation.verb), row.last_end) {
                (Some(Verb::Stop | Verb::Restart), _) => EndReason::Stopped,
                (Some(Verb::Kill | Verb::Delete), _) => EndReason::Killed,
                (_, Some(end)) if end.boot == vm.boots => end.reason,
                _ => seen,
            },
            Err(_) => seen,
        };
        let console = match end {
            EndReason::Stopped | EndReason::Killed => Vec::new(),
            _ => banger_vmm::console::tail(&self.app.host.console(vm.id, vm.boots), CONSOLE_LINES).unwrap_or_default(),
        };
        Failure::Ended { vm: vm.name.clone(), end, console }
    }
}
