//! The locks of names and VMs.

use super::{below, explore, must_fail, steps};
use crate::{
    locks::{Held, Locks},
    task::Mutex,
};
use shuttle::future::{block_on, spawn, yield_now};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};
use tokio::sync::Mutex as AsyncMutex;

const KEYS: usize = 2;
const TASKS: u32 = 4;

/// What is tried.
trait Keyed: Default + Send + Sync + 'static {
    fn lock(&self, key: usize) -> impl Future<Output = Held> + Send;
    fn try_lock(&self, key: usize) -> Option<Held>;
    fn known(&self) -> usize;
}

impl Keyed for Locks<usize> {
    async fn lock(&self, key: usize) -> Held {
        Self::lock(self, &key).await
    }

    fn try_lock(&self, key: usize) -> Option<Held> {
        Self::try_lock(self, &key)
    }

    fn known(&self) -> usize {
        Self::known(self)
    }
}

/// Several come, wait or only look, hold on for a while, leave early or late, and come again.
fn contend<L: Keyed>() {
    let locks = Arc::new(L::default());
    let inside: Arc<[AtomicU32; KEYS]> = Arc::default();
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (locks, inside) = (Arc::clone(&locks), Arc::clone(&inside));
            spawn(async move {
                for round in 0..2 {
                    let key = usize::from((task + round) % 3 == 0);
                    let held = match below(4) {
                        0 => locks.try_lock(key),
                        1 => steps(locks.lock(key), below(3)).await,
                        _ => Some(locks.lock(key).await),
                    };
                    if held.is_some() {
                        assert_eq!(inside[key].fetch_add(1, Ordering::SeqCst), 0, "two hold one key");
                        for _ in 0..below(3) {
                            yield_now().await;
                        }
                        inside[key].fetch_sub(1, Ordering::SeqCst);
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        block_on(task).unwrap();
    }
    assert!((0..KEYS).all(|key| locks.try_lock(key).is_some()), "a lock is held by nobody");
    assert!(locks.known() <= KEYS);
}

#[test]
fn one_holds_a_key_at_a_time_and_it_is_let_go() {
    explore("keyed locks", contend::<Locks<usize>>);
}

/// Planted: looks, and makes a lock, in two steps.
#[derive(Default)]
struct InTwoSteps(Mutex<HashMap<usize, Arc<AsyncMutex<()>>>>);

impl InTwoSteps {
    fn of(&self, key: usize) -> Arc<AsyncMutex<()>> {
        let known = self.0.lock().get(&key).cloned();
        known.unwrap_or_else(|| {
            let lock = Arc::default();
            self.0.lock().insert(key, Arc::clone(&lock));
            lock
        })
    }
}

impl Keyed for InTwoSteps {
    async fn lock(&self, key: usize) -> Held {
        self.of(key).lock_owned().await
    }

    fn try_lock(&self, key: usize) -> Option<Held> {
        self.of(key).try_lock_owned().ok()
    }

    fn known(&self) -> usize {
        self.0.lock().len()
    }
}

/// Planted: whoever is about to take a lock has it forgotten, although others hold it or wait.
#[derive(Default)]
struct Forgetful(InTwoSteps);

impl Keyed for Forgetful {
    async fn lock(&self, key: usize) -> Held {
        let held = self.0.lock(key).await;
        self.0.0.lock().remove(&key);
        held
    }

    fn try_lock(&self, key: usize) -> Option<Held> {
        self.0.try_lock(key)
    }

    fn known(&self) -> usize {
        self.0.known()
    }
}

#[test]
fn locks_that_are_made_twice_are_found() {
    must_fail("keyed locks made in two steps", contend::<InTwoSteps>);
}

#[test]
fn locks_that_are_forgotten_too_soon_are_found() {
    must_fail("keyed locks that are forgotten", contend::<Forgetful>);
}
