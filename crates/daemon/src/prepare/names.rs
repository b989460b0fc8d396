//! One lock per name.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError, Weak},
};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// The locks of all names of one kind that somebody holds or waits for.
#[derive(Debug)]
pub(super) struct Names<K>(Mutex<HashMap<K, Weak<AsyncMutex<()>>>>);

impl<K> Default for Names<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash + Clone> Names<K> {
    /// Waits until nobody else works on `name`. Fair.
    pub(super) async fn lock(&self, name: &K) -> OwnedMutexGuard<()> {
        self.of(name).lock_owned().await
    }

    fn of(&self, name: &K) -> Arc<AsyncMutex<()>> {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = map.get(name).and_then(Weak::upgrade) {
            return lock;
        }
        map.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::default();
        map.insert(name.clone(), Arc::downgrade(&lock));
        lock
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::poll;

    #[tokio::test]
    async fn one_name_excludes_itself_only() {
        let names = Names::default();
        let held = names.lock(&"a").await;
        let mut second = Box::pin(names.lock(&"a"));
        assert!(poll!(&mut second).is_pending());
        drop(names.lock(&"b").await);
        drop(held);
        drop(second.await);
        drop(names.lock(&"c").await);
        assert_eq!(names.0.lock().unwrap().len(), 1, "locks that nobody holds are forgotten");
    }
}
