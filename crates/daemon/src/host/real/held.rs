//! The processes of all VMs of one kind, each held from its start or its adoption until it is ended.
//!
//! A process is known by its record on disk, which is there before the process does anything. So a daemon that has just
//! started finds every process of the one before; what has no record any more is found in `/proc`.

use super::task;
use crate::{
    host::{Change, HostError},
    resource::Resource,
};
use banger_model::VmId;
use banger_vmm::process::Process;
use banger_vmm::record::Record;
use std::{
    collections::HashMap,
    fs, io,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How long a killed process may take to go. Letting go of a large guest's memory takes a while.
const KILL_BOUND: Duration = Duration::from_secs(20);

/// What is held.
#[derive(Debug)]
pub(super) struct Held<R> {
    resource: Resource,
    processes: Mutex<HashMap<VmId, Process<R>>>,
}

impl<R: Record> Held<R> {
    pub(super) fn new(resource: Resource) -> Self {
        Self { resource, processes: Mutex::default() }
    }

    /// Holds a process that has just been started.
    pub(super) fn hold(&self, id: VmId, process: Process<R>) {
        self.processes().insert(id, process);
    }

    /// The VM's process, if it is one that lives: adopted by its record if need be.
    pub(super) fn alive(&self, id: VmId, record: &Path) -> Option<Process<R>> {
        if let Some(process) = self.processes().get(&id) {
            return process.is_alive().then(|| process.clone());
        }
        let process = R::read(record).ok().flatten().and_then(|record| Process::adopt(&record).ok().flatten())?;
        self.hold(id, process.clone());
        Some(process)
    }

    /// The VM's process, if it was ever held: it may have ended.
    pub(super) fn last(&self, id: VmId) -> Option<Process<R>> {
        self.processes().get(&id).cloned()
    }

    /// The VMs that have one, or had one until a moment ago.
    pub(super) fn ids(&self) -> Vec<VmId> {
        self.processes().keys().copied().collect()
    }

    /// Ends the VM's process, and those that `strays` finds without a record, and removes the record.
    pub(super) async fn end(
        &self,
        id: VmId,
        record: &Path,
        strays: impl FnOnce() -> io::Result<Vec<R>> + Send + 'static,
    ) -> Result<Change, HostError>
    where
        R: Send + 'static,
    {
        let mut change = Change::Unchanged;
        let mut processes: Vec<Process<R>> = self.alive(id, record).into_iter().collect();
        let resource = self.resource;
        for stray in task(move || strays().map_err(|source| HostError::Processes { source })).await? {
            if !processes.iter().any(|process| process.record().identity() == stray.identity()) {
                processes.extend(Process::adopt(&stray).map_err(|source| HostError::Watch { resource, source })?);
            }
        }
        for process in processes {
            process.kill_and_wait(KILL_BOUND).await.map_err(|source| HostError::Kill { resource, source })?;
            change = Change::Changed;
        }
        match fs::remove_file(record) {
            Ok(()) => change = Change::Changed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(HostError::File { resource, path: record.into(), source }),
        }
        self.processes().remove(&id);
        Ok(change)
    }

    fn processes(&self) -> MutexGuard<'_, HashMap<VmId, Process<R>>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
