//! The crash matrix of files: everything that is done to a store, made to go wrong at every step that it takes.
//!
//! Nothing here lists steps. Each act ([`acts`]) is done once on a sound store, and the steps that it took
//! ([`crate::effect`]) are what is then made to go wrong one at a time, on either side, in every way ([`Way`]). So a new step
//! is in the matrix by itself. After each of these cells and a look, as a daemon's, the store is what it was before, or what
//! it is when all goes well; no work in progress and no lock is left; another look does nothing; and the same act succeeds.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "how much was tried is for the reader of the log")]

mod acts;
mod bench;
mod process;

use crate::cancel::Cancel;
use crate::effect::plan::{self, Fault, How, Trace, When};
use acts::Act;
use banger_damage::Noise;
use bench::{Bench, Seen, wanted};
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Cells that are tried at the same time.
const WORKERS: usize = 3;
/// Of the sample of kills.
const SEED: u64 = 20_261_125;
/// Of so many kills one is tried, unless there is time for all.
const SAMPLE: usize = 6;

/// How a step goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It fails.
    Error,
    /// It fails, and so does one of those that are taken because of that: the how manieth.
    ErrorTwice(usize),
    /// The process is killed there.
    Kill,
    /// The work is cancelled at that moment.
    Cancel,
}

/// What an act does when all goes well.
struct Course {
    act: Act,
    trace: Trace,
    before: Seen,
    after: Seen,
}

/// One step of an act, and how it goes wrong.
#[derive(Clone)]
struct Cell {
    course: Arc<Course>,
    at: usize,
    when: When,
    way: Way,
}

impl Course {
    fn of(act: Act) -> Arc<Self> {
        let bench = Bench::new(act);
        if act != Act::OpenStore {
            // What nobody asked for goes, whatever becomes of the act.
            bench.look();
        }
        let before = bench.seen();
        let bench = Bench::new(act);
        let (done, trace) = plan::with(&[], || act.perform(&bench, &wanted()));
        done.unwrap();
        bench.look();
        Arc::new(Self { act, trace, before, after: bench.seen() })
    }

    fn cells(self: &Arc<Self>, ways: &[Way]) -> Vec<Cell> {
        let mut cells = Vec::new();
        for at in 0..self.trace.len() {
            for when in self.trace[at].sides().iter().copied() {
                let cancel = when != When::Midway && self.act.heeds_cancel();
                let ways = ways.iter().filter(|way| cancel || **way != Way::Cancel);
                cells.extend(ways.map(|way| Cell { course: Arc::clone(self), at, when, way: *way }));
            }
        }
        cells
    }
}

impl Cell {
    /// Tries it.
    fn run(&self) {
        let Course { act, before, after, .. } = &*self.course;
        let bench = Bench::new(*act);
        let told = self.perform(&bench);
        match (self.way, &told) {
            (Way::Kill, _) | (_, Some(Ok(()))) => {}
            (Way::Cancel, Some(Err(error))) => assert!(error.ends_with("cancelled"), "{error}"),
            (_, Some(Err(error))) => assert!(error.contains(&plan::Planted.to_string()), "{error}"),
            (_, None) => unreachable!(),
        }
        bench.assert_unlocked();
        for (name, content) in bench.seen().iter().filter(|(name, _)| !name.starts_with("staging/")) {
            let old_or_new = [before, after].iter().any(|seen| seen.get(name) == Some(content));
            // What has no name yet, or no more, is nobody's, but whole all the same; and what is to be pruned is there.
            assert!(old_or_new || is_whole(*act, &bench, name), "{name} is neither the old nor the new: {content}");
        }
        bench.look();
        let seen = bench.seen();
        assert_eq!(bench.staged(), [] as [std::path::PathBuf; 0], "work in progress is left");
        match told {
            Some(Ok(())) => assert_eq!(seen, *after, "it was told that it is done"),
            _ => assert!(seen == *before || seen == *after, "{seen:#?}\nis neither {before:#?}\nnor {after:#?}"),
        }
        assert_eq!(bench.look(), 0, "a second look finds something to do");
        assert_eq!(bench.seen(), seen, "a second look changes something");
        act.perform_again(&bench, seen == *after);
        assert_eq!(bench.staged(), [] as [std::path::PathBuf; 0], "done again, it leaves something");
        bench.look();
        assert_eq!(bench.seen(), *after, "done again, it comes to something else");
    }

    /// Does the act with what goes wrong in it; none when its process was killed.
    fn perform(&self, bench: &Bench) -> Option<Result<(), String>> {
        let act = self.course.act;
        let fault = |at, when, how| Fault { at, when, how };
        let cancel = Cancel::new();
        let faults = match self.way {
            Way::Kill => {
                process::killed(act, bench, self.at, self.when, KILLED);
                return None;
            }
            Way::Error => vec![fault(self.at, self.when, How::Fails)],
            Way::ErrorTwice(later) => {
                vec![fault(self.at, self.when, How::Fails), fault(self.at + 1 + later, When::Before, How::Fails)]
            }
            Way::Cancel => vec![fault(self.at, self.when, How::Cancelled(cancel.clone()))],
        };
        let (done, trace) = plan::with(&faults, || act.perform(bench, &cancel));
        assert!(trace.len() > self.at, "it never comes to that: {trace:?}");
        Some(done)
    }
}

/// Whether an entry that is in neither serial outcome is there as it was, or whole and without a name.
fn is_whole(act: Act, bench: &Bench, name: &str) -> bool {
    let whole = Bench::new(act);
    let untouched = whole.seen();
    let (_, done) = (whole.look(), act.perform(&whole, &wanted()));
    let _also_when_there_was_nothing_to_do = done;
    let content = bench.seen().remove(name);
    content.is_some() && (untouched.get(name) == content.as_ref() || whole.seen().get(name) == content.as_ref())
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Course { act, trace, .. } = &*self.course;
        write!(f, "{act:?}: {:?} {:?} step {} ({:?}) of {trace:?}", self.way, self.when, self.at, trace[self.at])
    }
}

/// Tries all cells, and names all that break.
fn try_all(title: &str, cells: &[Cell]) {
    let begun = Instant::now();
    let next = AtomicUsize::new(0);
    let broken: usize = std::thread::scope(|scope| {
        let work = || {
            let mut broken = 0;
            while let Some(cell) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
                if catch_unwind(AssertUnwindSafe(|| cell.run())).is_err() {
                    eprintln!("broken: {cell}");
                    broken += 1;
                }
            }
            broken
        };
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    let mut counts = BTreeMap::<String, usize>::new();
    for cell in cells {
        *counts.entry(format!("{:?}", cell.course.act)).or_default() += 1;
    }
    let each: Vec<_> = counts.iter().map(|(act, count)| format!("{act} {count}")).collect();
    println!("{title}: {} cells in {:.1} s ({})", cells.len(), begun.elapsed().as_secs_f32(), each.join(", "));
    assert!(broken == 0, "{broken} of {} cells are broken", cells.len());
}

#[test]
fn whatever_file_step_fails_or_is_cancelled_the_store_is_the_old_or_the_new() {
    let mut cells = Vec::new();
    for course in acts::ALL.map(Course::of) {
        cells.extend(course.cells(&[Way::Error, Way::ErrorTwice(0), Way::Cancel]));
    }
    try_all("crash matrix of files", &cells);
}

/// What goes wrong while something is undone: every second failure after every first one.
#[test]
fn whatever_fails_on_the_way_back_of_a_file_step_is_swept() {
    let mut cells = Vec::new();
    for course in acts::ALL.map(Course::of) {
        for first in course.cells(&[Way::Error]) {
            let bench = Bench::new(course.act);
            let fault = Fault { at: first.at, when: first.when, how: How::Fails };
            let (_, trace) = plan::with(&[fault], || course.act.perform(&bench, &wanted()));
            // The next one is tried anyhow.
            cells.extend(
                (1..trace.len() - 1 - first.at).map(|later| Cell { way: Way::ErrorTwice(later), ..first.clone() }),
            );
        }
    }
    try_all("crash matrix of files, on the way back", &cells);
}

const KILLED: &str = "matrix::whatever_file_step_is_the_last_the_store_is_the_old_or_the_new";

/// By a real SIGKILL, so that nothing is undone.
#[test]
fn whatever_file_step_is_the_last_the_store_is_the_old_or_the_new() {
    if process::serve() {
        return;
    }
    let mut cells = Vec::new();
    for course in acts::ALL.map(Course::of) {
        cells.extend(course.cells(&[Way::Kill]));
    }
    if std::env::var_os("BANGER_SOAK").is_none() {
        let mut noise = Noise::new(SEED);
        println!("of {} cells one in {SAMPLE}, by the seed {SEED}; all with BANGER_SOAK=1", cells.len());
        cells.retain(|_| noise.below(SAMPLE) == 0);
    }
    try_all("crash matrix of files, killed", &cells);
}

const LED: &str = "matrix::a_look_at_any_step_of_another_process_takes_nothing_of_it";

/// Another process works step by step, and before each of them somebody looks as a daemon does.
#[test]
fn a_look_at_any_step_of_another_process_takes_nothing_of_it() {
    if process::serve() {
        return;
    }
    let (mut steps, mut sweeps, mut prunes, mut taken, mut locks) = (0, 0, 0, 0, 0);
    for course in acts::ALL.map(Course::of).into_iter().filter(|course| course.act.heeds_cancel()) {
        let bench = Bench::new(course.act);
        let mut led = process::Led::begin(course.act, &bench, LED);
        let mut once = false;
        while led.next().is_some() {
            steps += 1;
            // It stands still, so who has which lock does not change; we must not wait for one that it has.
            let (store, locked) = (bench.store(), bench.locked(led.pid()));
            locks += locked.len();
            if !locked.contains(&store.root().join("staging")) {
                store.sweep_staging().unwrap();
                let owned = locked.iter().filter(|path| path.starts_with(bench.path("store/staging")));
                owned.for_each(|path| assert!(path.is_dir(), "{} was swept, and it has an owner", path.display()));
                sweeps += 1;
            }
            let names_are_free = !locked.contains(&store.image_names()) && !locked.contains(&store.kernel_names());
            // What it has made and not yet named goes; then it makes that again. Once, or it would go on for ever.
            if names_are_free && !once {
                let gone = crate::image::prune(&store, |_| false).unwrap().len()
                    + crate::kernel::prune(&store, |_| false).unwrap().len();
                prunes += 1;
                taken += gone;
                once = gone > 0;
            }
            led.go();
        }
        led.end();
        bench.look();
        assert_eq!(bench.seen(), course.after, "{:?}", course.act);
    }
    println!(
        "looks at another process: {steps} steps, {sweeps} sweeps, {prunes} prunes, which took {taken} times what had no name yet"
    );
    assert!(taken > 0 && sweeps > 0 && locks > 0);
}
