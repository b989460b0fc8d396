//! What the daemon costs while it does nothing, and how quick short answers are.

use crate::{
    measure::{memory, repeated},
    table::Table,
};
use banger_e2e::Sandbox;
use std::{process::Command, time::Duration};

const RUNS: u32 = 41;
const MANY: usize = 1000;

/// Memory idle and with a thousand stopped VMs; `vm list` of ten and of those; `--version`.
pub(crate) fn run(table: &mut Table) {
    let sandbox = Sandbox::new();
    table.bounded("banger --version", repeated(RUNS, || sandbox.banger("--version")), Duration::from_millis(5));
    sandbox.banger("vm list").run().ok();
    let daemon = sandbox.daemon_pid();
    table.memory("the daemon, idle", memory(daemon, "VmRSS:"), 20);
    create(&sandbox, 10);
    table.bounded("vm list of ten", repeated(RUNS, || sandbox.banger("vm list")), Duration::from_millis(15));
    create(&sandbox, MANY - 10);
    // As it is after a restart, too: what a burst of work left behind would hide what the VMs themselves cost.
    table.memory("the daemon that made 1,000 stopped VMs", memory(daemon, "VmRSS:"), 30);
    sandbox.stop_daemon();
    sandbox.banger("vm list").run().ok();
    table.memory("the daemon with 1,000 stopped VMs, started anew", memory(sandbox.daemon_pid(), "VmRSS:"), 30);
    table.bounded("vm list of 1,000", repeated(RUNS, || sandbox.banger("vm list")), Duration::from_millis(50));
    delete(&sandbox);
    without_a_host(table);
}

/// What the daemon itself takes, on a host that takes no time: its own tests have such a host.
fn without_a_host(table: &mut Table) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let test = ["--ignored", "--exact", "tests::figures::figures", "--nocapture"];
    let output = Command::new(cargo)
        .args(["test", "-q", "--release", "-p", "banger-daemon", "--bin", "bangerd", "--"])
        .args(test)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    table.adopt("", &String::from_utf8_lossy(&output.stdout));
}

fn create(sandbox: &Sandbox, count: usize) {
    let name = |n: usize| format!("vm-{n}");
    let first = sandbox.vm_names().len();
    for n in first..first + count {
        sandbox.banger("vm create --disk-size 64M --name").arg(name(n)).run().ok();
    }
}

fn delete(sandbox: &Sandbox) {
    for names in sandbox.vm_names().chunks(50) {
        sandbox.banger("vm delete").words(&names.join(" ")).run().ok();
    }
}
