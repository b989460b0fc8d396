//! `vm run --rm -- true` beside the very same VMM, started by hand, until the agent answers.

use crate::{
    by_hand::ByHand,
    measure::{median, once},
    table::Table,
};
use banger_e2e::{Sandbox, surroundings};

/// Where processors are emulated twice, one boot takes up to twice as long as the next: a median needs several.
const ROUNDS: usize = 6;

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
    let ours = || once(Some(daemon), || sandbox.banger(&format!("vm run --rm --net {net} -- true")).succeeds());
    // In turns, so that whatever else the host does falls on both. And in turns each way round: a VMM gets the memory that the one
    // before last has given back, and with some of it a boot takes a fifth longer; strictly one after the other, one of the two
    // would have that every time, and the other never.
    for _ in 0..ROUNDS {
        run.push(ours());
        hand.extend([by_hand.boot(), by_hand.boot()]);
        run.push(ours());
    }
    table.compared(what, median(run), "the same by hand", median(hand), 1.15);
}
