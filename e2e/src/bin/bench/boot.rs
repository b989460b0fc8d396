//! `vm run --rm -- true` beside the very same VMM, started by hand, until the agent answers.

use crate::{
    by_hand::ByHand,
    measure::{median, once},
    table::Table,
};
use banger_e2e::{Sandbox, surroundings};

/// Where processors are emulated twice, a run takes ten times as long, and says as much.
fn runs() -> usize {
    if surroundings::is_firecracker() { 3 } else { 7 }
}

/// Both without a network, so that the VMM alone is compared; then, where there is one, once more as people run it.
pub(crate) fn run(table: &mut Table) {
    let sandbox = Sandbox::new();
    sandbox.banger("vm run --rm -- true").run().ok();
    let by_hand = ByHand::copy_from(&sandbox);
    let daemon = sandbox.daemon_pid();
    let ours = |words: &str| once(Some(daemon), || sandbox.banger(words).succeeds());
    let (mut run, mut with_net, mut hand) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs() {
        run.push(ours("vm run --rm --net none -- true"));
        hand.push(by_hand.boot());
        if !surroundings::is_firecracker() {
            with_net.push(ours("vm run --rm -- true"));
        }
    }
    let hand = median(hand);
    table.compared("vm run --rm -- true, no network", median(run), "the same VMM by hand", hand, 1.15);
    if !with_net.is_empty() {
        table.compared("vm run --rm -- true", median(with_net), "the same VMM by hand, no network", hand, 1.15);
    }
}
