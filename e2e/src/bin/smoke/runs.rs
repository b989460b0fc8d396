//! `vm run`: from a command line to a command's end, and nothing left, however it ends.

use banger_e2e::{Call, processes, smoke::User, wait_for};
use rustix::process::Signal;

/// `vm run --rm` of a VM with that name, without a word of progress.
fn run(user: &User, options: &str) -> Call {
    user.banger("vm run --rm --quiet --name").arg(user.name("box")).words(options).arg("--")
}

pub(crate) fn exit_status(user: &User) {
    run(user, "").words("sh -c").arg("exit 37").run().expect_status(37);
    assert!(!user.has("box"), "the VM of a run that ended is still there");
}

pub(crate) fn streams(user: &User) {
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[usize::from(n % 7 == 0)]).collect();
    let output = run(user, "").words("sh -c").arg("echo aside >&2; cat").stdin(bytes.clone()).run();
    output.expect_status(0);
    assert!(output.bytes == bytes, "{} bytes came back of {}", output.bytes.len(), bytes.len());
    assert_eq!(output.stderr, "aside\n");
}

pub(crate) fn command_options(user: &User) {
    let options = "--env A=one --env B=two=2 --workdir /tmp --user dev";
    let output = run(user, options).words("sh -c").arg("echo $A $B; pwd; id -un").run();
    assert_eq!(output.ok(), "one two=2\n/tmp\ndev");
}

pub(crate) fn interrupted_boot(user: &User) {
    let interrupt = |options: &str, what: &str| {
        let call = user.banger("vm run --name").arg(user.name(what)).words(options).words("-- true").start();
        let vm = user.existing(what);
        wait_for("the VM to boot", || (user.has(what) && vm.status() == "starting").then_some(()));
        processes::signal(call.pid(), Signal::INT);
        let output = call.wait();
        output.expect_status(130).says(&["cancelling"]);
        output.stderr
    };
    let told = interrupt("--rm", "brief");
    assert!(told.contains(&format!("nothing is left of {}", user.name("brief"))), "{told}");
    assert!(!user.has("brief"), "the VM of an interrupted run is still there");
    // One that was to stay is there, to be looked at and started again, and nothing of it runs.
    let told = interrupt("", "kept");
    assert!(told.contains(&format!("{} stays, and is stopped", user.name("kept"))), "{told}");
    let kept = user.existing("kept");
    assert_eq!((kept.status(), &kept.show()["running"]), ("stopped".into(), &serde_json::Value::Null));
    kept.does("delete");
}

pub(crate) fn interrupted_command(user: &User) {
    let call = run(user, "").words("sleep 1001").start();
    user.existing("box").wait_for_process("sleep 1001");
    processes::signal(call.pid(), Signal::INT);
    call.wait().expect_status(130);
    assert!(!user.has("box"), "the VM of an interrupted command is still there");
}

pub(crate) fn client_killed(user: &User) {
    let call = run(user, "").words("sleep 1002").start();
    user.existing("box").wait_for_process("sleep 1002");
    processes::kill(call.pid());
    user.loses("box");
}
