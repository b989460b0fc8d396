//! How a VM's life passes: what a start is made of, several starts at once, and the ways to end.

use crate::{
    measure::{Cost, median, once},
    table::Table,
};
use banger_e2e::{Sandbox, surroundings};
use serde_json::Value;
use std::time::Duration;

const RUNS: usize = 3;
/// How many VMs are started at once.
const MANY: usize = 4;
/// Where a processor is emulated once; twice is measured, not judged.
const STOP: Duration = Duration::from_millis(500);
const DELETE: Duration = Duration::from_millis(100);

/// All of it.
pub(crate) fn run(table: &mut Table) {
    let sandbox = Sandbox::new();
    sandbox.banger("vm create --name box --net none").run().ok();
    let daemon = sandbox.daemon_pid();
    let timed = |words: &str| once(Some(daemon), || sandbox.banger(words).succeeds());
    let (mut steps, mut stops, mut kills, mut deletes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        steps.push(steps_of_a_start(&sandbox));
        stops.push(timed("vm stop box"));
        sandbox.banger("vm start box").run().ok();
        kills.push(timed("vm kill box"));
        deletes.push(timed("vm delete box"));
        sandbox.banger("vm create --name box --net none").run().ok();
    }
    for (index, (name, _)) in steps[0].iter().enumerate() {
        let costs = steps.iter().filter_map(|steps| steps.get(index)).map(|(_, cost)| *cost).collect();
        table.plain(&format!("of vm start: {name}"), median(costs));
    }
    let judged = |table: &mut Table, what, cost, limit| match surroundings::is_firecracker() {
        true => table.plain(what, cost),
        false => table.bounded(what, cost, limit),
    };
    judged(table, "vm stop of an idle VM", median(stops), STOP);
    table.plain("vm kill", median(kills));
    judged(table, "vm delete of a stopped VM", median(deletes), DELETE);
    several(table, &sandbox);
}

/// Each stage of a start with what it took, from the log of the operation.
fn steps_of_a_start(sandbox: &Sandbox) -> Vec<(String, Cost)> {
    let started = sandbox.banger("vm start box --json").run();
    let begun: Value = serde_json::from_str(started.ok().lines().next().unwrap()).unwrap();
    let log = sandbox.banger("debug --json").arg(begun["op"].as_str().unwrap()).run().json();
    let moments: Vec<(String, f64)> = log["records"].as_array().unwrap().iter().filter_map(moment).collect();
    let step = |pair: &[(String, f64)]| {
        let wall = Duration::from_secs_f64((pair[1].1 - pair[0].1).max(0.0));
        (pair[0].0.clone(), Cost { wall, cpu: None })
    };
    moments.windows(2).map(step).collect()
}

/// What begins at a record, and its second of the day.
fn moment(record: &Value) -> Option<(String, f64)> {
    let name = match record["message"].as_str()? {
        "stage" => record["stage"].as_str()?.to_lowercase(),
        "operation succeeded" => "done".to_owned(),
        _ => return None,
    };
    let time = record["timestamp"].as_str()?.split(['T', 'Z']).nth(1)?;
    let seconds = time.split(':').try_fold(0.0, |sum, part| Some(sum * 60.0 + part.parse::<f64>().ok()?))?;
    Some((name, seconds))
}

/// Several VMs, one after the other and then all at once: bound by the processors that are there.
fn several(table: &mut Table, sandbox: &Sandbox) {
    let names: Vec<String> = (1..=MANY).map(|n| format!("box-{n}")).collect();
    for name in &names {
        sandbox.banger("vm create --net none --name").arg(name).run().ok();
    }
    let all = names.join(" ");
    let in_a_row = once(None, || {
        for name in &names {
            sandbox.banger("vm start").arg(name).succeeds();
        }
    });
    sandbox.banger(&format!("vm kill {all}")).run().ok();
    let at_once = once(None, || sandbox.banger(&format!("vm start {all}")).succeeds());
    let plain = |cost: Cost| Cost { cpu: None, ..cost };
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    table.plain(&format!("{MANY} starts in a row"), plain(in_a_row));
    table.plain(&format!("{MANY} starts at once, on {processors} processors"), plain(at_once));
}
