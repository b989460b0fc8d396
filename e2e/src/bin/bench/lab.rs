//! The topics that depend on the VMM, once more on real Firecracker, in the lab.

use crate::table::Table;
use banger_e2e::{
    lab::{
        cache::Cache,
        host::Host,
        link::{Case, Program},
        payload,
        report::Report,
        session::{self, Plan},
    },
    place::Place,
};

/// In an order in which nothing that is measured follows on what it might profit from.
const TOPICS: [&str; 3] = ["boot", "exec", "life"];
/// How long one may take, in seconds.
const BOUND: u64 = 15 * 60;

/// Boots the lab and takes over its rows.
pub(crate) fn run(table: &mut Table) {
    let cache = Cache::open(Place::get().target()).unwrap();
    let host = Host::make(&cache).unwrap();
    let payload = payload::make(&cache, &host, Program::Bench).unwrap();
    drop(cache);
    let case = |topic: &str| Case { program: Program::Bench, name: topic.to_owned(), seconds: BOUND };
    let plan = Plan { host: &host, payload: &payload, labs: 1, keep: false };
    let mut report = Report::new(TOPICS.len(), 0);
    let ran = session::run(&plan, TOPICS.map(case).into(), &mut report);
    for ended in report.all() {
        table.adopt("in the lab: ", &ended.output);
    }
    assert!(report.close(ran.as_ref().err()), "the lab failed");
}
