//! One cell of the matrix, each on a host and with daemons of its own.

use super::{acts::Act, expect};
use crate::{
    App,
    db::VmRow,
    host::fake::{Effect, Fault, How, When},
    reconcile,
    resource::Resource,
    tests::{BOUND, Bench, begin, kill, name},
};
use banger_model::vm::{Status, Target, Verb};
use std::{fmt, sync::Arc};

/// How a step goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// It fails, once.
    Error,
    /// It fails, and so does the first attempt to undo it, or to do it again.
    ErrorTwice,
    /// The daemon is killed there.
    Kill,
    /// The host goes down there, and comes up again.
    KillAndReboot,
    /// The operation is cancelled at that moment.
    Cancel,
}

impl Way {
    pub(super) const ALL: [Self; 5] = [Self::Error, Self::ErrorTwice, Self::Kill, Self::KillAndReboot, Self::Cancel];

    fn how(self) -> How {
        match self {
            Self::Error | Self::ErrorTwice => How::Fails,
            Self::Kill | Self::KillAndReboot => How::Crashes,
            Self::Cancel => How::Cancelled,
        }
    }
}

/// A step of an act, and how it goes wrong.
#[derive(Clone)]
pub(super) struct Cell {
    pub(super) act: Act,
    /// The steps that the act takes when all goes well.
    pub(super) trace: Arc<[Effect]>,
    /// Which of them goes wrong.
    pub(super) at: usize,
    pub(super) when: When,
    pub(super) way: Way,
    /// What goes wrong after that, on the way back: the how manieth step that then comes, on which side, in which way.
    pub(super) back: Option<((Effect, usize), When, Way)>,
}

/// The life of one daemon: it has a runtime of its own, so when it ends nothing of it goes on. Nobody watches over VMs: what is
/// done is what the test does.
fn daemon<T>(bench: &Bench, life: impl AsyncFnOnce(Arc<App>) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let app = bench.daemon();
        kill(Arc::clone(&app));
        life(app).await
    })
}

/// The steps of an act when all goes well.
pub(super) fn trace(act: Act) -> Vec<Effect> {
    let bench = Bench::new();
    daemon(&bench, async |app| {
        act.arrange(&app).await;
        bench.world.take_trace();
        let (cx, _events) = begin(&app);
        act.perform(&app, cx).await.unwrap();
        bench.world.take_trace()
    })
}

impl Cell {
    /// Tries it.
    pub(super) fn run(&self) {
        let bench = Bench::new();
        let told = daemon(&bench, async |app| {
            let told = self.perform(&bench, &app).await;
            if told.is_some() {
                self.check_left(&app).await;
                if self.way != Way::ErrorTwice {
                    look(&app).await;
                    bench.assert_settled(&app).await;
                }
            }
            told
        });
        self.check_told(told.as_ref());
        if self.way == Way::KillAndReboot {
            bench.world.reboot();
        }
        daemon(&bench, async |app| {
            look(&app).await;
            if self.way == Way::ErrorTwice {
                // What was to fail again has done so by now, or never will.
                self.check_left(&app).await;
                bench.world.heal();
                look(&app).await;
            }
            bench.assert_settled(&app).await;
        });
        daemon(&bench, async |app| {
            self.check_target(&app, told.map(|told| told.is_ok())).await;
            // Another look, by another daemon, does nothing at all.
            let (rows, there) = (app.db.vms().await.unwrap(), bench.world.inventory());
            bench.world.take_trace();
            look(&app).await;
            assert_eq!(bench.world.take_trace(), []);
            assert_eq!((app.db.vms().await.unwrap(), bench.world.inventory()), (rows, there));
            let staging = app.prepare.store().root().join("staging");
            assert_eq!(std::fs::read_dir(staging).unwrap().count(), 0);
        });
    }

    /// Does the act with what goes wrong in it; none when the daemon was killed over it.
    async fn perform(&self, bench: &Bench, app: &Arc<App>) -> Option<Result<(), String>> {
        let world = &bench.world;
        self.act.arrange(app).await;
        let effect = self.trace[self.at];
        let before = self.trace[..self.at].iter().filter(|step| **step == effect).count();
        world.plant_after(before, Fault { effect, when: self.when, how: self.way.how() });
        if self.way == Way::ErrorTwice {
            world.plant(Fault { effect: again(effect), when: When::Before, how: How::Fails });
        }
        if let Some(((effect, skip), when, way)) = self.back {
            world.plant_after(skip, Fault { effect, when, how: way.how() });
        }
        world.take_trace();
        let (cx, _events) = begin(app);
        let (operations, op) = (app.operations.clone(), cx.id());
        world.on_cancel(move || assert!(operations.cancel(op)));
        let told = tokio::select! {
            told = tokio::time::timeout(BOUND, self.act.perform(app, cx)) => Some(told.expect("it hangs")),
            () = world.reached.notified() => None,
        };
        assert!(world.spent() || self.way == Way::ErrorTwice, "it never comes to that");
        told
    }

    /// The steps that come after what goes wrong, each with how many of its kind come before it there.
    pub(super) fn way_back(&self) -> Vec<(Effect, usize)> {
        let bench = Bench::new();
        let steps = daemon(&bench, async |app| {
            self.perform(&bench, &app).await;
            bench.world.take_trace()
        });
        let back = &steps[self.at + 1..];
        let kin = |at: usize| back[..at].iter().filter(|step| **step == back[at]).count();
        (0..back.len()).map(|at| (back[at], kin(at))).collect()
    }

    /// What the user was told.
    fn check_told(&self, told: Option<&Result<(), String>>) {
        let cut_off = |way| matches!(way, Way::Kill | Way::KillAndReboot);
        let killed = cut_off(self.way) || self.back.is_some_and(|(_, _, way)| cut_off(way));
        assert_eq!(told.is_none(), killed);
        let Some(told) = told else { return };
        let step = self.trace[self.at];
        match (self.way, told) {
            // A guest that does not end in order is killed, and what comes after the client has gone is told to nobody.
            (Way::Error | Way::ErrorTwice, Ok(())) => {
                assert!(step == Effect::Shutdown || self.act == Act::Run { rm: true });
            }
            // The first cause, whatever happens after it.
            (Way::Error | Way::ErrorTwice, Err(cause)) => {
                let words = match step {
                    Effect::Ensure(resource) => format!("planted failure of the {resource}"),
                    Effect::Remove(resource) => format!("{resource} (planted failure"),
                    Effect::Write(name) => format!("planted failure of the write {name:?}"),
                    Effect::Boot => "did not answer".into(),
                    // Then it was the second failure that could not be got over.
                    Effect::Shutdown => "planted failure of the VMM".into(),
                };
                assert!(cause.contains(&words), "{cause}");
            }
            (Way::Cancel, Err(cause)) => assert!(cause.ends_with("cancelled"), "{cause}"),
            (Way::Cancel, Ok(())) => {
                let builds = |step: &Effect| matches!(step, Effect::Ensure(_) | Effect::Boot);
                let forward = self.act.parts().iter().any(|(verb, _)| matches!(verb, Verb::Create | Verb::Start));
                let ahead = self.trace[self.at + 1..].iter().filter(|step| builds(step)).count();
                assert!(!forward || ahead == 0, "it went on building");
            }
            (Way::Kill | Way::KillAndReboot, _) => unreachable!(),
        }
    }

    /// What could not be removed makes the VM degraded, is named, and leaves two things to do: stop and delete.
    async fn check_left(&self, app: &App) {
        for row in app.db.vms().await.unwrap() {
            let view = app.view(row.clone());
            let there = beyond(app, &row);
            if row.operation.is_some() || (there.is_empty() && row.left.is_empty()) {
                continue;
            }
            for left in &view.left {
                assert!(left.why.contains("planted") || left.why.contains("busy"), "{left:?}");
            }
            let named = |resource: &Resource| view.left.iter().any(|left| left.part == resource.to_string());
            assert!(there.iter().all(named), "{there:?} {view:?}");
            if !there.is_empty() {
                assert_eq!(view.status, Status::Degraded, "{there:?}");
                assert_eq!(banger_model::vm::admit(Verb::Delete, view.status), Ok(()));
            }
        }
    }

    async fn check_target(&self, app: &App, told: Option<bool>) {
        let reached = app.db.vm_named(&name("box")).await.unwrap().map_or(Target::Absent, |vm| vm.target);
        match self.back {
            Some(_) => assert_eq!(reached, expect::back(self, told.is_some())),
            None => assert_eq!(reached, expect::target(self, told)),
        }
        if self.act == Act::Prune {
            let other = app.named(&name("other")).await.unwrap();
            let runs = if self.way == Way::KillAndReboot { Status::Stopped } else { Status::Running };
            assert_eq!(app.status(&other), runs, "what runs is not pruned");
        }
    }
}

/// What is there of a VM beyond its target.
fn beyond(app: &App, row: &VmRow) -> Vec<Resource> {
    let present = app.host.observe(row.id);
    crate::resource::beyond(row.target).filter(|resource| present.resources.contains(resource)).collect()
}

/// One look at everything.
async fn look(app: &App) {
    tokio::time::timeout(BOUND, reconcile::all(app)).await.expect("a look hangs").ok();
}

/// What is to fail after that has failed: undoing it, or doing it again.
fn again(effect: Effect) -> Effect {
    match effect {
        Effect::Ensure(resource) | Effect::Remove(resource) => Effect::Remove(resource),
        Effect::Boot | Effect::Shutdown => Effect::Remove(Resource::Vmm),
        Effect::Write(name) => Effect::Write(name),
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?} {:?} {:?}", self.act, self.way, self.when, self.trace[self.at])?;
        match self.back {
            Some(((effect, nth), when, way)) => write!(f, ", then {way:?} {when:?} {effect:?} ({nth})"),
            None => Ok(()),
        }
    }
}
