//! Carrying out a plan: clients at work, the daemon killed, what became of the clients, and a daemon that looks again.

use super::{
    cast::Cast,
    look::{Picture, unrecorded},
    plan::{Moment, Place, Plan},
    tally::{Hit, Tally},
    verb::{Kind, Verb},
};
use banger_e2e::{Output, Sandbox, call::Running, place::Place as Programs, processes, sandbox::entries, wait_for};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How often it is looked for something that is to change.
const GLANCE: Duration = Duration::from_micros(100);
/// How long a process that is about to die with the daemon may be there.
const BREATH: Duration = Duration::from_secs(10);
/// What the client says that an operation does, as far as it is told.
const STAGES: [&str; 15] = [
    "wait for another operation",
    "look for the image",
    "find the image",
    "fetch the image",
    "unpack the layers",
    "write the file system",
    "convert the image",
    "get the kernel",
    "find out which VMM works here",
    "make the disks",
    "set up the network",
    "start the VMM",
    "boot",
    "shut down",
    "clean up",
];

/// Kills as the plan says, and gives everything that is not as it should be afterwards.
pub(super) fn strike(sandbox: &Sandbox, cast: &mut Cast<'_>, plan: &Plan, tally: &mut Tally) -> Vec<String> {
    let verbs: Vec<Verb> = plan.acts.iter().map(|(verb, _)| *verb).collect();
    let numbers = cast.prepare(&verbs);
    let daemon = daemon(sandbox);
    let clients = begin(sandbox, daemon, cast, plan, &numbers);
    processes::kill(daemon);
    wait_for("the daemon's end", || (!processes::is_alive(daemon)).then_some(()));
    let recorded = are_recorded(sandbox);
    let mut faults = without_a_record(sandbox);

    let mut allowed = BTreeMap::new();
    for ((verb, number), client) in verbs.iter().zip(&numbers).zip(clients) {
        let ended = client.wait();
        let succeeded = ended.status.success();
        allowed.insert(*number, verb.allows(succeeded));
        tally.hits.push(Hit { verb: *verb, stage: if succeeded { None } else { stage(&ended) }, recorded });
        if !succeeded {
            faults.extend(unclear(&ended));
        }
    }
    tally.kills += 1;
    tally.crowds += usize::from(verbs.len() > 1);
    let start = Instant::now();
    for share in &plan.again {
        tally.recovering += usize::from(kill_on_the_way_up(sandbox, tally.way_up.mul_f64(*share)));
    }
    sandbox.banger("vm list --quiet").run().ok();
    if plan.again.is_empty() {
        tally.way_up = (tally.way_up + start.elapsed()) / 2;
    }

    let picture = Picture::take(sandbox);
    faults.extend(picture.faults(sandbox));
    faults.extend(cast.compare(&picture, &allowed));
    for number in numbers.iter().filter(|number| cast.subjects[**number].kind == Kind::Image) {
        faults.extend(picture.root_of(sandbox, &cast.subjects[*number].name).and_then(|root| damaged(sandbox, &root)));
    }
    if faults.is_empty() {
        cast.answer();
        faults.extend(second_look(sandbox, &picture));
    }
    faults
}

/// Starts the clients, and comes back when the daemon is to die.
fn begin(sandbox: &Sandbox, daemon: u32, cast: &Cast<'_>, plan: &Plan, numbers: &[usize]) -> Vec<Running> {
    let start = |act: usize| cast.subjects[numbers[act]].call(sandbox, plan.acts[act].0).start();
    match plan.moment {
        Moment::Shares => {
            // Each has its own way to go until then; the longest begins.
            let way = |act: usize| cast.usual(plan.acts[act].0).mul_f64(plan.acts[act].1);
            let all = (0..plan.acts.len()).map(way).max().unwrap_or_default();
            let begun = Instant::now();
            let mut order: Vec<usize> = (0..plan.acts.len()).collect();
            order.sort_by_key(|act| all - way(*act));
            let mut clients: Vec<_> = Vec::new();
            for act in order {
                std::thread::sleep((all - way(act)).saturating_sub(begun.elapsed()));
                clients.push((act, start(act)));
            }
            std::thread::sleep(all.saturating_sub(begun.elapsed()));
            clients.sort_by_key(|(act, _)| *act);
            clients.into_iter().map(|(_, client)| client).collect()
        }
        Moment::Sight { place, changes, then } => {
            let mut before = seen(sandbox, daemon, place);
            let clients: Vec<_> = (0..plan.acts.len()).map(start).collect();
            let (begun, patience) = (Instant::now(), cast.usual(plan.acts[0].0).mul_f64(1.2));
            let mut left = changes;
            while left > 0 && begun.elapsed() < patience {
                let now = seen(sandbox, daemon, place);
                if now == before {
                    // What happens at the gate is over sooner than a sleep.
                    std::thread::sleep(if place == Place::Gate { Duration::ZERO } else { GLANCE });
                } else {
                    (before, left) = (now, left - 1);
                }
            }
            std::thread::sleep(then);
            clients
        }
    }
}

/// What is in a place, and one level below.
fn seen(sandbox: &Sandbox, daemon: u32, place: Place) -> BTreeSet<PathBuf> {
    let folders = match place {
        Place::Files => vec![sandbox.state().join("vms")],
        Place::Sockets => vec![sandbox.runtime().join("vm")],
        Place::Staging => vec![sandbox.data().join("staging")],
        Place::Images => vec![sandbox.data().join("images"), sandbox.data().join("image-names")],
        Place::Gate => return at_the_gate(daemon),
    };
    let above: Vec<PathBuf> = folders.iter().flat_map(|folder| entries(folder)).collect();
    above.iter().flat_map(|path| entries(path)).chain(above.clone()).collect()
}

/// The folders in `/proc` of the processes that are still copies of the daemon.
fn at_the_gate(daemon: u32) -> BTreeSet<PathBuf> {
    let own = Path::new("/proc").join(daemon.to_string());
    let command = |process: &Path| fs::read(process.join("cmdline")).unwrap_or_default();
    let lists =
        entries(&own.join("task")).into_iter().filter_map(|thread| fs::read_to_string(thread.join("children")).ok());
    let children: Vec<PathBuf> = lists
        .flat_map(|list| list.split_whitespace().map(|pid| Path::new("/proc").join(pid)).collect::<Vec<_>>())
        .collect();
    let daemon = command(&own);
    children.into_iter().filter(|child| command(child) == daemon).collect()
}

/// The daemon that has the state folder, which has answered a moment ago.
fn daemon(sandbox: &Sandbox) -> u32 {
    sandbox.banger("vm list --quiet").run().ok();
    fs::read_to_string(sandbox.state().join("bangerd.lock")).unwrap().trim().parse().unwrap()
}

/// Whether every VM that has sockets has a record of its VMM.
fn are_recorded(sandbox: &Sandbox) -> bool {
    let begun = entries(&sandbox.runtime().join("vm"));
    let record = |folder: &PathBuf| sandbox.state().join("vms").join(folder.file_name().unwrap()).join("vmm.v1.json");
    begun.iter().all(|folder| record(folder).exists())
}

/// Processes that do something and that no record leads to, unless a daemon that a late client started sees to them.
fn without_a_record(sandbox: &Sandbox) -> Vec<String> {
    let start = Instant::now();
    loop {
        let found = unrecorded(sandbox);
        let lock = fs::read_to_string(sandbox.state().join("bangerd.lock")).unwrap_or_default();
        let another = lock.trim().parse().is_ok_and(processes::is_alive);
        if found.is_empty() || another {
            return Vec::new();
        }
        if start.elapsed() > BREATH {
            return found;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The last thing that the client was told of.
fn stage(ended: &Output) -> Option<&'static str> {
    ended.stderr.lines().rev().find_map(|line| STAGES.into_iter().find(|stage| line.trim() == *stage))
}

/// What is wrong with how the client told of the daemon's end.
fn unclear(ended: &Output) -> Option<String> {
    let clear = ended.stderr.contains("error: ") && ended.stderr.contains("daemon");
    let clean = ended.status.code().is_some() && !ended.stderr.contains("panicked at");
    (!clear || !clean).then(|| format!("a client does not tell what happened: {ended}"))
}

/// Starts a daemon and kills it so soon. Says whether it was; there may be one already.
fn kill_on_the_way_up(sandbox: &Sandbox, delay: Duration) -> bool {
    let daemon = sandbox.tool(Programs::get().program("bangerd")).words("run").start();
    std::thread::sleep(delay);
    processes::kill(daemon.pid());
    daemon.wait().status.signal().is_some()
}

/// What `e2fsck` has to say about a file system.
fn damaged(sandbox: &Sandbox, root: &Path) -> Option<String> {
    let check = sandbox.tool("e2fsck").words("-fn").arg(root).run();
    (!check.status.success()).then(|| format!("an image is damaged: {check}"))
}

/// What another daemon changes when it looks at the same again.
fn second_look(sandbox: &Sandbox, before: &Picture) -> Option<String> {
    let log = sandbox.state().join("bangerd.log");
    let said = || fs::read_to_string(&log).unwrap_or_default();
    let length = said().len();
    sandbox.kill_daemon(daemon(sandbox));
    let after = Picture::take(sandbox);
    let said = said();
    // It begins anew when it is full.
    let new = said.get(length..).unwrap_or(&said);
    let did = new.lines().find(|line| line.contains(r#""message":"reconcile""#));
    if let Some(did) = did {
        return Some(format!("a second look did something: {did}"));
    }
    (after != *before).then(|| format!("a second look changed something: {before:#?}\n{after:#?}"))
}
