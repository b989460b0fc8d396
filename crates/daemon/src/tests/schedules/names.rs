//! Pull, import, delete and prune on two names, all at once, on a store that is a map.

use super::{below, explore, must_fail, steps};
use crate::{
    op::{OpCx, Operations},
    prepare::{PrepareError, Shelf},
};
use banger_image::{cancel::Cancel, image::ImageError};
use banger_model::{ImageRef, api::op::Stage};
use shuttle::future::{block_on, spawn, yield_now};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

const CLIENTS: u32 = 4;

/// What is done, and what is broken about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Planted {
    Nothing,
    /// A pull does not look again once it has the lock.
    NoSecondLook,
    /// A delete does not take the lock.
    NoLock,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Job {
    Pull(u8),
    Import(u8),
}

/// A store, and a count of what was done to each of its names.
#[derive(Default)]
struct Store {
    /// Never held while another may go first.
    there: Mutex<BTreeMap<u8, u32>>,
    at_work: [AtomicU32; 2],
    made: [AtomicU32; 2],
    deleted: [AtomicU32; 2],
    staged: AtomicU32,
}

/// Somebody is at work on a name.
struct AtWork<'a>(&'a AtomicU32);

impl<'a> AtWork<'a> {
    fn on(store: &'a Store, name: u8) -> Self {
        let at_work = &store.at_work[usize::from(name)];
        assert_eq!(at_work.fetch_add(1, Ordering::SeqCst), 0, "two are at work on one name");
        Self(at_work)
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Store {
    fn get(&self, name: u8) -> Option<u32> {
        self.there.lock().unwrap().get(&name).copied()
    }

    /// Makes what the name means, in steps.
    fn make(&self, name: u8, cancel: &Cancel) -> Result<u32, ImageError> {
        self.staged.fetch_add(1, Ordering::SeqCst);
        for _ in 0..2 {
            shuttle::thread::yield_now();
            if cancel.check().is_err() {
                self.staged.fetch_sub(1, Ordering::SeqCst);
                return Err(ImageError::Cancelled);
            }
        }
        let made = self.made[usize::from(name)].fetch_add(1, Ordering::SeqCst);
        self.staged.fetch_sub(1, Ordering::SeqCst);
        self.there.lock().unwrap().insert(name, made);
        Ok(made)
    }

    fn pull(&self, name: u8, planted: Planted, cancel: &Cancel) -> Result<u32, ImageError> {
        let _at_work = AtWork::on(self, name);
        match self.get(name) {
            Some(there) if planted != Planted::NoSecondLook => Ok(there),
            _ => self.make(name, cancel),
        }
    }

    fn import(&self, name: u8, cancel: &Cancel) -> Result<u32, ImageError> {
        let _at_work = AtWork::on(self, name);
        match self.get(name) {
            Some(_) => Err(ImageError::NameTaken { name: reference() }),
            None => self.make(name, cancel),
        }
    }
}

fn reference() -> ImageRef {
    "debian-bookworm".parse().unwrap()
}

type Images = Shelf<Job, u8, u32, ImageError>;

async fn pull(images: &Images, store: &Arc<Store>, name: u8, planted: Planted, cx: &OpCx) -> Result<u32, PrepareError> {
    let store = Arc::clone(store);
    // As a create does: only what is not there is pulled.
    if let Some(there) = store.get(name) {
        return Ok(there);
    }
    yield_now().await;
    images.share(Job::Pull(name), name, |_| Stage::Fetch, cx, move |_, cancel| store.pull(name, planted, cancel)).await
}

async fn act(images: &Images, store: &Arc<Store>, planted: Planted, cx: &OpCx) {
    let name = u8::from(below(4) == 0);
    match below(8) {
        0..4 => assert!(pull(images, store, name, planted, cx).await.is_ok(), "who stays gets it"),
        4 => {
            let work = {
                let store = Arc::clone(store);
                move |_: &dyn banger_image::progress::Progress, cancel: &Cancel| store.import(name, cancel)
            };
            let imported = images.share(Job::Import(name), name, |_| Stage::Convert, cx, work).await;
            let taken = |error: &PrepareError| matches!(error, PrepareError::Image(error) if matches!(**error, ImageError::NameTaken { .. }));
            assert!(imported.as_ref().map_or_else(taken, |_| true), "{imported:?}");
        }
        5 => {
            if let Some(_rest) = images.try_rest() {
                let at_rest = || store.staged.load(Ordering::SeqCst) == 0;
                assert!(at_rest());
                yield_now().await;
                assert!(at_rest(), "work has begun while all was to rest");
            }
        }
        _ => {
            let held = match planted {
                Planted::NoLock => None,
                _ => Some(images.lock(&name, cx).await.unwrap()),
            };
            let _at_work = AtWork::on(store, name);
            yield_now().await;
            if store.there.lock().unwrap().remove(&name).is_some() {
                store.deleted[usize::from(name)].fetch_add(1, Ordering::SeqCst);
            }
            drop(held);
        }
    }
}

/// Each client acts, and some of them leave.
fn contend(planted: Planted) {
    let (images, store) = (Arc::new(Images::default()), Arc::<Store>::default());
    let operations = Operations::default();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (images, store, operations) = (Arc::clone(&images), Arc::clone(&store), operations.clone());
            spawn(async move {
                let (cx, events) = operations.begin(crate::clock::new_op(), "a test".into()).unwrap();
                let acting = act(&images, &store, planted, &cx);
                match below(3) {
                    0 => drop(steps(acting, below(5)).await),
                    _ => acting.await,
                }
                drop(events);
            })
        })
        .collect();
    for client in clients {
        block_on(client).unwrap();
    }
    // Work that nobody wants has a moment to end; then nothing of it is left.
    while images.try_rest().is_none() || images.under_way() > 0 {
        shuttle::thread::yield_now();
    }
    assert_eq!(store.staged.load(Ordering::SeqCst), 0);
    for name in 0..2 {
        let count = |counts: &[AtomicU32; 2]| counts[name].load(Ordering::SeqCst);
        assert!(count(&store.made) <= 1 + count(&store.deleted), "it was made a second time");
        assert_eq!(count(&store.at_work), 0);
    }
}

#[test]
fn what_is_done_to_one_name_excludes_each_other_and_is_done_once() {
    explore("pull, import, delete and prune", || contend(Planted::Nothing));
}

#[test]
fn a_pull_that_does_not_look_again_is_found() {
    must_fail("pulls that do not look again", || contend(Planted::NoSecondLook));
}

#[test]
fn a_delete_that_does_not_wait_is_found() {
    must_fail("deletes that do not wait", || contend(Planted::NoLock));
}
