//! VMs that live as long as a client's request: `--rm`.

use crate::task::Mutex;
use banger_model::VmId;
use std::{
    collections::HashSet,
    sync::{Arc, MutexGuard},
};

/// The VMs whose client is there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Leases(Arc<Mutex<HashSet<VmId>>>);

/// Held by the task that answers the client.
#[derive(Debug)]
pub(crate) struct Lease {
    leases: Leases,
    id: VmId,
}

impl Leases {
    /// Ties a VM to whoever holds the lease.
    pub(crate) fn take(&self, id: VmId) -> Lease {
        self.set().insert(id);
        Lease { leases: self.clone(), id }
    }

    /// Whether its client is there.
    pub(crate) fn held(&self, id: VmId) -> bool {
        self.set().contains(&id)
    }

    fn set(&self) -> MutexGuard<'_, HashSet<VmId>> {
        self.0.lock()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.leases.set().remove(&self.id);
    }
}
