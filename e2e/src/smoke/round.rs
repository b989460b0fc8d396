//! One round: a fresh home, its scenarios, and the certainty that they left nothing.

use super::{
    Scenario,
    attempt::{Attempt, attempt},
    evidence,
    queue::{Next, Queue},
    report::{Report, Tally},
    user::{RegistryFacts, Surroundings, own_name},
};
use crate::{
    Sandbox,
    fixture::{image, registry::Registry},
    place::Place,
    verdict::Outcome,
};
use std::{
    fs::{self, File},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::Command,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long one scenario may take: longer than any step of it, so that a step that hangs can say so itself.
const BOUND: Duration = Duration::from_secs(180);

/// What is asked for.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Which.
    pub scenarios: &'a [&'static Scenario],
    /// So many at once.
    pub jobs: usize,
    /// Where evidence of failures is kept.
    pub evidence: PathBuf,
}

impl Plan<'_> {
    /// Runs them all.
    ///
    /// # Panics
    /// When there is no home to run them in.
    pub fn play(&self) -> Tally {
        let folder = Place::get().folder("smoke");
        let sandbox = Sandbox::new();
        let surroundings = folder.join("surroundings.json");
        fs::write(&surroundings, serde_json::to_vec(&gather(&sandbox, &folder)).unwrap()).unwrap();
        let round = Round {
            plan: self,
            sandbox: &sandbox,
            surroundings,
            queue: Mutex::new(Queue::new(self.scenarios.iter().map(|scenario| (scenario.class, *scenario)))),
            moved: Condvar::new(),
            report: Mutex::new(Report::new(self.scenarios.len(), self.jobs)),
        };
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(|| round.work());
            }
        });
        let mut report = round.report.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.end(sandbox, &folder, &mut report);
        fs::remove_dir_all(folder).unwrap();
        report.close()
    }

    /// Nothing is left: no VM, process, socket, disk or mount; the daemon ends, and its home goes.
    fn end(&self, sandbox: Sandbox, folder: &Path, report: &mut Report) {
        let start = Instant::now();
        // Before it goes; wanted only if it does not go as it should.
        let kept = evidence::keep(&sandbox, &folder.join("the-end"), "");
        let (state, data) = (sandbox.state(), sandbox.data());
        let ended = caught(move || {
            assert_eq!(sandbox.vm_names(), Vec::<String>::new(), "VMs are left");
            sandbox.finish();
            let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
            for folder in [state, data] {
                assert!(!mounts.contains(&folder.display().to_string()), "something is mounted: {mounts}");
            }
        });
        let (outcome, output, kept) = match ended {
            Ok(()) => (Outcome::Ok, String::new(), None),
            Err(why) => {
                let moved = self.evidence.join("the-end");
                fs::create_dir_all(&self.evidence).unwrap();
                fs::rename(&kept, &moved).unwrap();
                (Outcome::Failed, why, Some(moved))
            }
        };
        report.ended("nothing-is-left", &Attempt { outcome, took: start.elapsed(), output }, kept.as_deref());
    }
}

/// What scenarios are told.
fn gather(sandbox: &Sandbox, folder: &Path) -> Surroundings {
    let (root, runtime) = sandbox.folders();
    let registry = Registry::shared();
    Surroundings {
        root: root.to_owned(),
        runtime: runtime.to_owned(),
        programs: Place::get().programs.clone(),
        layout: image::oci_layout().to_owned(),
        tar: own_tar(&folder.join("own.tar")),
        registry: registry.map(|r| RegistryFacts { host: r.host.clone(), log: r.log.clone() }),
    }
}

/// An image that is like no other one.
fn own_tar(path: &Path) -> PathBuf {
    let mut tree = image::Tree::new(File::create(path).unwrap());
    image::base(&mut tree);
    tree.file("etc/motd", b"made of a tar\n", 0o644, 0);
    tree.finish();
    path.to_owned()
}

struct Round<'a> {
    plan: &'a Plan<'a>,
    sandbox: &'a Sandbox,
    surroundings: PathBuf,
    queue: Mutex<Queue<&'static Scenario>>,
    moved: Condvar,
    report: Mutex<Report>,
}

impl Round<'_> {
    /// One after another, until nothing is left to do.
    fn work(&self) {
        let mut queue = self.queue();
        loop {
            match queue.take() {
                Next::Run(class, scenario) => {
                    drop(queue);
                    self.run(scenario);
                    queue = self.queue();
                    queue.ended(class);
                    self.moved.notify_all();
                }
                Next::Wait => queue = self.moved.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Next::Over => return,
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue<&'static Scenario>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, scenario: &Scenario) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        // It tells its steps, which say more than where in the framework one of them failed.
        command.arg("one").arg(scenario.name).arg(&self.surroundings).env("RUST_BACKTRACE", "0");
        let log = self.surroundings.with_file_name(format!("{}.log", scenario.name));
        let mut attempt = attempt(command, &log, BOUND);
        let left = caught(|| self.left_by(scenario.name));
        match &left {
            Ok(names) if names.is_empty() => {}
            Ok(names) => fails(&mut attempt, &format!("it left VMs behind: {}", names.join(", "))),
            Err(why) => fails(&mut attempt, &format!("what it left cannot be found out: {why}")),
        }
        let folder = self.plan.evidence.join(scenario.name);
        let kept = attempt.outcome.is_bad().then(|| evidence::keep(self.sandbox, &folder, &attempt.output));
        // Others have to get along with the host as it is, but not with VMs that nobody needs.
        let tidied = caught(|| {
            left.unwrap_or_default().iter().for_each(|name| {
                self.sandbox.banger("vm delete --force").arg(name).run();
            });
        });
        if let Err(why) = tidied {
            fails(&mut attempt, &format!("what it left cannot be deleted: {why}"));
        }
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        report.ended(scenario.name, &attempt, kept.as_deref());
    }

    fn left_by(&self, scenario: &str) -> Vec<String> {
        let own = own_name(scenario, "");
        self.sandbox.vm_names().into_iter().filter(|name| name.starts_with(&own)).collect()
    }
}

/// It has failed, if it had not before; also for this reason.
fn fails(attempt: &mut Attempt, why: &str) {
    if !attempt.outcome.is_bad() {
        attempt.outcome = Outcome::Failed;
    }
    attempt.output.push_str(&format!("{why}\n"));
}

/// What a step gives that may panic, or the panic's words.
fn caught<T>(step: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(step)).map_err(|panic| match panic.downcast::<String>() {
        Ok(words) => *words,
        Err(panic) => panic.downcast_ref::<&str>().copied().unwrap_or("it panicked").to_owned(),
    })
}
