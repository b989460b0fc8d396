//! Guests that cannot come up, and agents that say nothing: what people are told of it is the same on every VMM.

use banger_e2e::{
    Output, Sandbox, Vm,
    fixture::image::{base, layer},
    fixture::layout,
    place::find,
    surroundings, wait_for,
};
use serde_json::json;

/// Has its machine given up within seconds, for those that never come up.
fn in_a_hurry(sandbox: &Sandbox) {
    let image = banger_e2e::fixture::image::busybox_reference();
    sandbox.configure(&format!("image = \"{image}\"\nboot-timeout = 10\n"));
}

/// It never became ready, is told so with its last words and nothing of KVM, and is kept to be looked at.
#[track_caller]
fn assert_never_ready(vm: &Vm<'_>, sandbox: &Sandbox, run: &Output) {
    run.expect_status(125).fails_with(&[&vm.name, "did not boot"]);
    if surroundings::is_firecracker() {
        assert!(!run.stderr.contains("/dev/kvm") && !run.stderr.contains("KVM"), "{run}");
    }
    assert_eq!((vm.status(), &vm.show()["last_end"]["reason"]["why"]), ("stopped".into(), &"never-ready".into()));
    let logs = sandbox.banger(&format!("vm logs {}", vm.name)).run();
    if let Some(line) = logs.ok().lines().rev().find(|line| !line.trim().is_empty()) {
        assert!(run.stderr.contains(line.trim()), "{line:?} in {run}");
    }
    sandbox.assert_nothing_runs();
    assert_eq!(sandbox.vm_names(), [vm.name.as_str()]);
}

#[test]
fn a_kernel_that_finds_no_disk_is_given_up_with_its_last_words() {
    let sandbox = Sandbox::new();
    // Where KVM works that is known by then, and what fails is not its fault.
    sandbox.banger("vm run --rm -- true").run().ok();
    // Debian's, without its modules: neither disk nor port is seen by it.
    sandbox.banger("kernel import").arg(crate::kernels::bzimage(&sandbox)).arg("deaf").run().ok();
    let run = sandbox.banger("vm run --rm --name box --kernel deaf -- true").run();
    assert_never_ready(&sandbox.existing("box"), &sandbox, &run);
    assert!(run.stderr.contains("the guest cannot go on"), "{run}");
    sandbox.banger("vm run --rm -- true").run().ok();
}

#[test]
fn an_agent_that_never_answers_is_given_up() {
    let mut sandbox = Sandbox::new();
    sandbox.stop_daemon();
    in_a_hurry(&sandbox);
    // As `/init`, busybox comes up and serves nobody.
    sandbox.take_agent(&find("busybox").unwrap());
    let run = sandbox.banger("vm run --rm --name box -- true").run();
    assert_never_ready(&sandbox.existing("box"), &sandbox, &run);
    assert!(run.stderr.contains("the agent in the guest did not answer within 10 s"), "{run}");
}

#[test]
fn an_agent_that_falls_silent_holds_up_nobody_for_ever() {
    let sandbox = Sandbox::new();
    let vm = sandbox.vm("box");
    let stop = "pid=$(grep -al '^@banger-agent' /proc/[0-9]*/cmdline | cut -d/ -f3); \
                kill -STOP $pid && echo it has stopped >/dev/console";
    vm.exec_with("--detach", "sh -c").arg(stop).run().ok();
    wait_for("the agent to stop", || {
        sandbox.banger("vm logs box").run().stdout.contains("it has stopped").then_some(())
    });
    assert_eq!(vm.status(), "running", "what the daemon knows it tells without asking the guest");
    let stop = sandbox.banger("vm stop box").start();
    vm.becomes("stopping");
    vm.cancel();
    stop.wait().ok();
    vm.becomes("stopped");
    assert_eq!(vm.show()["last_end"]["reason"]["why"], "killed");
    sandbox.assert_nothing_runs();
    vm.does("start");
    vm.exec("true").run().ok();
}

#[test]
fn an_image_whose_init_cannot_be_run_is_still_a_machine() {
    let sandbox = Sandbox::new();
    let folder = sandbox.scratch().join("bad-init");
    let layers = vec![layer(|tree| {
        base(tree);
        tree.folder("sbin", 0o755, 0);
        tree.file("sbin/init", b"\x7fELF of another machine", 0o755, 0);
    })];
    layout::write(&folder, &[layout::Image { tag: "x", layers, config: json!({}) }]);
    sandbox.banger("vm create --name box --image").arg(format!("oci-layout:{}", folder.display())).run().ok();
    let vm = sandbox.existing("box");
    vm.does("start");
    assert!(vm.exec("cat /proc/1/cmdline").run().ok().starts_with("/init"));
    let logs = sandbox.banger("vm logs box").run();
    assert!(logs.ok().contains("cannot start /sbin/init"), "{logs}");
    vm.does("stop");
    assert_eq!(vm.show()["last_end"]["reason"]["why"], "stopped");
}
