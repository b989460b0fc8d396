//! Whom kills are about: VMs and images that verbs are tried on, and VMs that have to live through all of it.

use super::{
    look::Picture,
    plan::{IMAGES, VMS},
    verb::{Kind, State, Verb},
};
use banger_e2e::{
    Call, Sandbox,
    fixture::{image, registry::Registry},
    surroundings,
};
use std::{collections::BTreeMap, time::Duration};

/// A VM or an image that verbs are tried on.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) kind: Kind,
    pub(super) name: String,
    /// More words for what brings it about.
    with: Vec<String>,
    pub(super) state: State,
}

impl Subject {
    /// The command line of a verb on it.
    pub(super) fn call(&self, sandbox: &Sandbox, verb: Verb) -> Call {
        let with = || self.with.iter();
        let call = sandbox.banger(verb.words());
        match verb {
            Verb::Import => with().fold(call, Call::arg).arg(&self.name),
            Verb::Create => with().fold(call.arg(&self.name), Call::arg),
            Verb::Run | Verb::RunOnce => with().fold(call.arg(&self.name), Call::arg).words("-- true"),
            _ => call.arg(&self.name),
        }
    }

    /// What brings it from the state in which it is nearer to another one.
    fn towards(&self, wanted: State) -> Option<Verb> {
        let brought = if self.with.is_empty() { Verb::Pull } else { Verb::Import };
        match (self.kind, self.state, wanted) {
            (_, now, wanted) if now == wanted => None,
            (Kind::Image, State::Absent, _) => Some(brought),
            (Kind::Image, ..) => Some(Verb::DeleteImage),
            (Kind::Vm, State::Absent, _) => Some(Verb::Create),
            (Kind::Vm, State::Running, _) => Some(Verb::Stop),
            (Kind::Vm, State::Rest, State::Running) => Some(Verb::Start),
            (Kind::Vm, State::Rest, _) => Some(Verb::Delete),
        }
    }
}

/// A VM that nobody acts on.
#[derive(Debug)]
struct Survivor {
    name: String,
    /// The host's process and the guest's own word for its boot.
    boot: (u32, String),
}

/// How long verbs take here and now.
#[derive(Debug)]
struct Usual(BTreeMap<Verb, Duration>);

impl Usual {
    /// What a first try is based on.
    fn guess() -> Self {
        let guesses = [
            (Verb::Create, 80),
            (Verb::Start, 4000),
            (Verb::Stop, 500),
            (Verb::Delete, 60),
            (Verb::Pull, 300),
            (Verb::Import, 300),
            (Verb::DeleteImage, 60),
        ];
        Self(guesses.into_iter().map(|(verb, ms)| (verb, Duration::from_millis(ms))).collect())
    }

    fn learn(&mut self, verb: Verb, took: Duration) {
        self.0.entry(verb).and_modify(|usual| *usual = (*usual + took) / 2);
    }

    fn of(&self, verb: Verb) -> Duration {
        let of = |verb| self.0[&verb];
        match verb {
            Verb::Run => of(Verb::Create) + of(Verb::Start),
            Verb::RunOnce => of(Verb::Create) + of(Verb::Start) + of(Verb::Delete),
            Verb::Kill => of(Verb::Delete),
            Verb::DeleteRunning => 2 * of(Verb::Delete),
            Verb::Restart => of(Verb::Stop) + of(Verb::Start),
            measured => of(measured),
        }
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Cast<'a> {
    sandbox: &'a Sandbox,
    pub(super) subjects: Vec<Subject>,
    survivors: Vec<Survivor>,
    usual: Usual,
}

impl<'a> Cast<'a> {
    /// Boots so many survivors.
    pub(super) fn assemble(sandbox: &'a Sandbox, survivors: usize) -> Self {
        // Every other one is without a network.
        let with = |number: usize| -> Vec<String> {
            let offline = number % 2 == 1 || surroundings::is_firecracker();
            if offline { ["--net", "none"].map(str::to_owned).into() } else { Vec::new() }
        };
        let vm = |number| Subject {
            kind: Kind::Vm,
            name: format!("box-{number}"),
            with: with(number),
            state: State::Absent,
        };
        let mut subjects: Vec<_> = (0..VMS).map(vm).collect();
        let layout = image::oci_layout().display();
        let pulled = match Registry::shared() {
            Some(registry) if !surroundings::is_firecracker() => format!("docker://{}/team/dev:1", registry.host),
            _ => format!("oci-layout:{layout}:dev"),
        };
        let image = |name: String, with| Subject { kind: Kind::Image, name, with, state: State::Absent };
        subjects.push(image(pulled, Vec::new()));
        subjects.push(image("docker://localhost/kept:1".into(), vec![format!("oci-layout:{layout}:plain")]));
        assert_eq!(subjects.len(), VMS + IMAGES);
        let mut cast = Self { sandbox, subjects, survivors: Vec::new(), usual: Usual::guess() };
        for number in 0..survivors {
            let name = format!("survivor-{number}");
            let mut subject = Subject { kind: Kind::Vm, name, with: with(number), state: State::Absent };
            while let Some(verb) = subject.towards(State::Running) {
                cast.does(&mut subject, verb);
            }
            let vm = sandbox.existing(&subject.name);
            let boot = (vm.vmm_pid(), boot_of(sandbox, &subject.name));
            cast.survivors.push(Survivor { name: subject.name, boot });
        }
        cast
    }

    /// A verb that nothing interrupts, from which is learned how long it takes.
    fn does(&mut self, subject: &mut Subject, verb: Verb) {
        let done = subject.call(self.sandbox, verb).run();
        done.ok();
        self.usual.learn(verb, done.took);
        subject.state = verb.leaves();
    }

    /// How long a verb takes.
    pub(super) fn usual(&self, verb: Verb) -> Duration {
        self.usual.of(verb)
    }

    /// Finds a subject for each verb, all different, and brings it into the state that the verb needs.
    pub(super) fn prepare(&mut self, verbs: &[Verb]) -> Vec<usize> {
        let mut taken: Vec<Option<usize>> = verbs.iter().map(|verb| named(*verb)).collect();
        for (act, verb) in verbs.iter().enumerate() {
            let free = |number: &usize| self.subjects[*number].kind == verb.kind() && !taken.contains(&Some(*number));
            let all = || (0..self.subjects.len()).filter(free);
            // One that is in the right state costs nothing.
            let fits = all().find(|number| self.subjects[*number].state == verb.needs());
            let found = taken[act].or(fits).or_else(|| all().next());
            taken[act] = found;
        }
        let taken: Vec<usize> =
            taken.into_iter().map(|found| found.expect("there are as many as a plan may need")).collect();
        for (number, verb) in taken.iter().zip(verbs) {
            let mut subject = self.subjects.remove(*number);
            while let Some(step) = subject.towards(verb.needs()) {
                self.does(&mut subject, step);
            }
            self.subjects.insert(*number, subject);
        }
        taken
    }

    /// Every VM that should run answers, and the survivors are in the boot in which they were.
    pub(super) fn answer(&self) {
        for survivor in &self.survivors {
            let now = (self.sandbox.existing(&survivor.name).vmm_pid(), boot_of(self.sandbox, &survivor.name));
            assert_eq!(now, survivor.boot, "{} was booted anew", survivor.name);
        }
        let runs = |subject: &&Subject| subject.kind == Kind::Vm && subject.state == State::Running;
        for subject in self.subjects.iter().filter(runs) {
            boot_of(self.sandbox, &subject.name);
        }
    }

    /// What is not as it should be: a subject on which nobody acted, or which is in no state that `allowed` names for it, takes note of
    /// the states that are found.
    pub(super) fn compare(&mut self, picture: &Picture, allowed: &BTreeMap<usize, Vec<State>>) -> Vec<String> {
        let mut faults = Vec::new();
        for (number, subject) in self.subjects.iter_mut().enumerate() {
            let found = match subject.kind {
                Kind::Vm => picture.vm(&subject.name),
                Kind::Image => Ok(picture.image(&subject.name)),
            };
            let unchanged = vec![subject.state];
            let allowed = allowed.get(&number).unwrap_or(&unchanged);
            match found {
                Ok(found) if allowed.contains(&found) => subject.state = found,
                Ok(found) => faults.push(format!("{} is {found:?} and may be {allowed:?}", subject.name)),
                Err(fault) => faults.push(fault),
            }
        }
        for survivor in &self.survivors {
            if picture.vm(&survivor.name) != Ok(State::Running) {
                faults.push(format!("{} did not survive", survivor.name));
            }
        }
        faults
    }
}

/// The subject that alone can be brought about by that verb.
fn named(verb: Verb) -> Option<usize> {
    match verb {
        Verb::Pull => Some(VMS),
        Verb::Import => Some(VMS + 1),
        _ => None,
    }
}

/// The guest's own word for its boot. It has been given its name, as everything else of its own.
fn boot_of(sandbox: &Sandbox, name: &str) -> String {
    let told = sandbox.existing(name).exec("cat /proc/sys/kernel/hostname /proc/sys/kernel/random/boot_id").run();
    let (hostname, boot) = told.ok().split_once('\n').unwrap();
    assert_eq!(hostname, name, "it runs, but was not set up");
    boot.to_owned()
}
