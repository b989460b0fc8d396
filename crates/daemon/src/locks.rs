//! One lock per key: the name of an image or a kernel, or a VM. Whoever acts on the thing holds it, be it a verb, reconcile,
//! or the watch on a VMM.

use crate::task::Mutex;
use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Weak},
};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// Held while acting on what the key means.
pub(crate) type Held = OwnedMutexGuard<()>;

/// The locks of all keys that somebody holds or waits for.
#[derive(Debug)]
pub(crate) struct Locks<K>(Mutex<HashMap<K, Weak<AsyncMutex<()>>>>);

impl<K> Default for Locks<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash + Clone> Locks<K> {
    /// Waits until nobody else holds it. Fair: those who wait get it in turn.
    pub(crate) async fn lock(&self, key: &K) -> Held {
        self.of(key).lock_owned().await
    }

    /// It, if nobody else has it.
    pub(crate) fn try_lock(&self, key: &K) -> Option<Held> {
        self.of(key).try_lock_owned().ok()
    }

    fn of(&self, key: &K) -> Arc<AsyncMutex<()>> {
        let mut map = self.0.lock();
        if let Some(lock) = map.get(key).and_then(Weak::upgrade) {
            return lock;
        }
        // Those who hold one or wait keep it alive, so what is forgotten here is nobody's.
        map.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::default();
        map.insert(key.clone(), Arc::downgrade(&lock));
        lock
    }

    /// How many keys are known.
    #[cfg(test)]
    pub(crate) fn known(&self) -> usize {
        self.0.lock().len()
    }

    /// For a test of the tests: those who come now do not meet those who are here.
    #[cfg(test)]
    pub(crate) fn lose(&self) {
        self.0.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::poll;

    #[tokio::test]
    async fn one_key_excludes_itself_only() {
        let locks = Locks::default();
        let held = locks.lock(&"a").await;
        let mut second = Box::pin(locks.lock(&"a"));
        assert!(poll!(&mut second).is_pending() && locks.try_lock(&"a").is_none());
        drop(locks.lock(&"b").await);
        drop(held);
        drop(second.await);
        drop(locks.try_lock(&"c").unwrap());
        assert_eq!(locks.known(), 1, "locks that nobody holds are forgotten");
    }
}
