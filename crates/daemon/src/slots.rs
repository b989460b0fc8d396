//! One driver per VM: whoever acts on a VM holds its slot, be it a verb, reconcile, or the watch on its VMM.

use banger_model::VmId;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// Held while acting on a VM.
pub(crate) type Slot = OwnedMutexGuard<()>;

/// The slots of all VMs.
#[derive(Debug, Default)]
pub(crate) struct Slots(Mutex<HashMap<VmId, Arc<AsyncMutex<()>>>>);

impl Slots {
    /// Waits for the slot. Fair: those who wait get it in turn.
    pub(crate) async fn lock(&self, id: VmId) -> Slot {
        self.of(id).lock_owned().await
    }

    /// The slot, if nobody acts on the VM.
    pub(crate) fn try_lock(&self, id: VmId) -> Option<Slot> {
        self.of(id).try_lock_owned().ok()
    }

    /// The VM is no more. Those who wait for its slot still get it, and find no row.
    pub(crate) fn forget(&self, id: VmId) {
        self.map().remove(&id);
    }

    fn of(&self, id: VmId) -> Arc<AsyncMutex<()>> {
        Arc::clone(self.map().entry(id).or_default())
    }

    fn map(&self) -> std::sync::MutexGuard<'_, HashMap<VmId, Arc<AsyncMutex<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
