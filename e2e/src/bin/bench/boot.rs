//! `vm run --rm -- true` beside the very same VMM, started by hand, until the agent answers.

use crate::{
    by_hand::ByHand,
    measure::{median, once},
    table::Table,
};
use banger_e2e::{Sandbox, surroundings};

/// Where processors are emulated twice, one boot takes up to twice as long as the next: a median needs several.
const RUNS: usize = 7;

/// Without a network, so that the VMM alone is compared; then, where there is one, as people run it.
pub(crate) fn run(table: &mut Table) {
    let sandbox = Sandbox::new();
    sandbox.banger("vm run --rm -- true").run().ok();
    compare(table, &sandbox, "none", "vm run --rm -- true, no network");
    if !surroundings::is_firecracker() {
        compare(table, &sandbox, "user", "vm run --rm -- true");
    }
}

fn compare(table: &mut Table, sandbox: &Sandbox, net: &str, what: &str) {
    let by_hand = ByHand::copy_from(sandbox, net);
    let daemon = sandbox.daemon_pid();
    let (mut run, mut hand) = (Vec::new(), Vec::new());
    // In turns, so that whatever else the host does falls on both.
    for _ in 0..RUNS {
        run.push(once(Some(daemon), || sandbox.banger(&format!("vm run --rm --net {net} -- true")).succeeds()));
        hand.push(by_hand.boot());
    }
    table.compared(what, median(run), "the same by hand", median(hand), 1.15);
}
