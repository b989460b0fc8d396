//! The crash matrix: every verb, made to go wrong at every step of its plan.
//!
//! Nothing here lists verbs, resources or steps. Each act is done once on a sound host, and the steps that it took, effects
//! on the host and transactions alike, are what is then made to go wrong one at a time, on either side, in every way
//! ([`Way`]). So a new resource, verb or transaction is in the matrix by itself. After each cell the host is what is on
//! record, what is on record is what the verb's contract says ([`expect`]), and another look changes nothing.

mod acts;
mod cell;
mod expect;
mod teardown;

use super::*;
use crate::host::fake::{Effect, When};
use cell::{Cell, Way};
use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

/// Cells that are tried at the same time.
const WORKERS: usize = 3;

/// Whether there is time for what takes minutes.
fn soak() -> bool {
    std::env::var_os("BANGER_SOAK").is_some()
}

/// Tries all cells, and names all that break.
fn try_all(title: &str, cells: &[Cell]) {
    let begun = Instant::now();
    let next = AtomicUsize::new(0);
    let broken: Vec<&Cell> = std::thread::scope(|scope| {
        let work = || {
            let mut broken = Vec::new();
            while let Some(cell) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
                if catch_unwind(AssertUnwindSafe(|| cell.run())).is_err() {
                    eprintln!("broken: {cell}");
                    broken.push(cell);
                }
            }
            broken
        };
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let mut counts = BTreeMap::<String, usize>::new();
    for cell in cells {
        *counts.entry(cell.act.to_string()).or_default() += 1;
    }
    let each: Vec<_> = counts.iter().map(|(act, count)| format!("{act} {count}")).collect();
    println!("{title}: {} cells in {:.1} s ({})", cells.len(), begun.elapsed().as_secs_f32(), each.join(", "));
    assert!(broken.is_empty(), "{} of {} cells are broken", broken.len(), cells.len());
}

#[test]
fn whatever_goes_wrong_at_whatever_step_reconcile_settles_it() {
    let mut cells = Vec::new();
    for act in acts::all() {
        let trace: Arc<[Effect]> = cell::trace(act).into();
        for at in 0..trace.len() {
            for when in [When::Before, When::After] {
                let ways = Way::ALL.into_iter().filter(|way| *way != Way::KillAndReboot || act.runs());
                cells.extend(ways.map(|way| Cell { act, trace: Arc::clone(&trace), at, when, way, back: None }));
            }
        }
    }
    try_all("crash matrix", &cells);
}

/// What goes wrong while a verb goes back from what had gone wrong. Every first failure in a long run, else the last two.
#[test]
fn whatever_goes_wrong_on_the_way_back_is_settled_too() {
    let mut cells = Vec::new();
    for act in acts::all() {
        let trace: Arc<[Effect]> = cell::trace(act).into();
        let builds = |at: &usize| matches!(trace[*at], Effect::Ensure(_) | Effect::Boot);
        let building: Vec<usize> = (0..trace.len()).filter(builds).collect();
        let first = if soak() { 0 } else { building.len().saturating_sub(2) };
        for at in building.into_iter().skip(first) {
            let failing = Cell { act, trace: Arc::clone(&trace), at, when: When::After, way: Way::Error, back: None };
            for back in failing.way_back() {
                for when in [When::Before, When::After] {
                    cells.extend(
                        [Way::Error, Way::Kill].map(|way| Cell { back: Some((back, when, way)), ..failing.clone() }),
                    );
                }
            }
        }
    }
    try_all("crash matrix, on the way back", &cells);
}

/// A forgotten step would be missing in what is tried, and nobody would notice: so the traces themselves are checked.
#[test]
fn every_verb_builds_and_removes_what_the_list_of_resources_says() {
    for act in acts::all() {
        let trace = cell::trace(act);
        let (mut built, mut removed): (Vec<_>, Vec<_>) = (Vec::new(), Vec::new());
        for effect in &trace {
            match effect {
                Effect::Ensure(resource) => built.push(*resource),
                Effect::Remove(resource) => removed.push(*resource),
                _ => {}
            }
        }
        let (up, down) = act.plan();
        assert_eq!(built, up, "{act}");
        assert_eq!(removed, down, "{act}");
        assert_eq!(trace.first(), Some(&Effect::Write("intend")), "{act}: intent comes first");
        assert_eq!(trace.last(), Some(&Effect::Write("settle")), "{act}: nothing is done after it is settled");
    }
}
