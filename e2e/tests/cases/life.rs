//! The life of VMs: create, start, stop, restart, kill, delete; and how they are listed and shown.

use banger_e2e::{Sandbox, processes, sandbox::entries, surroundings::vmm, terminal::Terminal};
use rustix::process::Signal;

#[test]
fn from_create_to_delete() {
    let sandbox = Sandbox::new();
    sandbox.banger("vm create --name box").run().ok();
    let vm = sandbox.existing("box");
    assert_eq!(vm.status(), "stopped");
    assert_eq!(entries(&sandbox.state().join("vms")).len(), 1);
    vm.does("start");
    assert_eq!(vm.status(), "running");
    let (boot, pid) = (vm.exec("cat /proc/sys/kernel/random/boot_id").run(), vm.vmm_pid());
    assert_eq!(vm.show()["running"]["boot_id"].as_str().unwrap(), boot.ok());
    vm.exec("sh -c").arg("echo kept >/root/file; echo kept >/srv-file").run().ok();
    vm.does("restart");
    let again = vm.exec("cat /proc/sys/kernel/random/boot_id /root/file /srv-file").run();
    assert!(again.ok().ends_with("kept\nkept") && !again.ok().starts_with(boot.ok()), "{again}");
    assert!(!processes::is_alive(pid), "the old VMM is still there");
    vm.does("stop");
    assert_eq!(vm.status(), "stopped");
    assert_eq!(vm.show()["last_end"]["reason"]["why"], "stopped");
    vm.does("delete");
    sandbox.assert_no_vm_left();
    sandbox.banger("vm show box").run().fails_with(&["box"]);
}

#[test]
fn kill_ends_it_at_once_and_says_so() {
    let sandbox = Sandbox::new();
    let vm = sandbox.vm("box");
    vm.does("kill");
    assert_eq!(vm.status(), "stopped");
    assert_eq!(vm.show()["last_end"]["reason"]["why"], "killed");
    vm.does("start");
    vm.exec("true").run().ok();
}

#[test]
fn a_vmm_that_stands_still_is_ended_all_the_same() {
    let sandbox = Sandbox::new();
    let vm = sandbox.vm("box");
    let pid = vm.vmm_pid();
    processes::signal(pid, Signal::STOP);
    let stop = sandbox.banger("vm stop box").start();
    vm.becomes("stopping");
    // Nobody answers, so it waits. Who does not want to wait may leave, and it goes on; who cancels it has it go on as a kill.
    processes::signal(stop.pid(), Signal::INT);
    stop.wait().expect_status(130);
    assert_eq!(vm.status(), "stopping");
    vm.cancel();
    vm.becomes("stopped");
    assert_eq!(vm.show()["last_end"]["reason"]["why"], "killed");
    assert!(!processes::is_alive(pid));
    sandbox.assert_nothing_runs();
}

#[test]
fn a_running_vm_is_only_deleted_by_force() {
    let sandbox = Sandbox::new();
    let vm = sandbox.vm("box");
    sandbox.banger("vm delete box").run().fails_with(&["box", "running", "--force"]);
    vm.exec("true").run().ok();
    sandbox.banger("vm delete --force box").run().ok();
    sandbox.assert_no_vm_left();
}

#[test]
fn several_are_taken_at_once_and_one_unknown_name_does_not_stop_the_others() {
    let sandbox = Sandbox::new();
    for name in ["one", "two"] {
        sandbox.banger(&format!("vm create --name {name}")).run().ok();
    }
    sandbox.banger("vm start one nobody two").run().fails_with(&["nobody"]);
    assert_eq!(
        (sandbox.existing("one").status(), sandbox.existing("two").status()),
        ("running".into(), "running".into())
    );
    sandbox.banger("vm kill one two").run().ok();
    sandbox.banger("vm delete one two").run().ok();
    sandbox.assert_no_vm_left();
}

#[test]
fn a_name_that_is_taken_is_refused_and_the_first_vm_untouched() {
    let sandbox = Sandbox::new();
    sandbox.banger("vm create --name box").run().ok();
    let before = sandbox.existing("box").show()["id"].clone();
    sandbox.banger("vm create --name box").run().fails_with(&["box"]);
    sandbox.banger("vm run --rm --name box -- true").run().fails_with(&["box"]);
    assert_eq!(sandbox.existing("box").show()["id"], before);
    assert_eq!(sandbox.vm_names(), ["box"]);
}

#[test]
fn verbs_on_a_vm_that_is_there_already_or_not_at_all() {
    let sandbox = Sandbox::new();
    for verb in ["start", "stop", "restart", "kill", "delete", "show", "logs"] {
        sandbox.banger(&format!("vm {verb} nobody")).run().fails_with(&["nobody"]);
    }
    sandbox.banger("vm create --name box").run().ok();
    for verb in ["stop", "kill"] {
        let output = sandbox.banger(&format!("vm {verb} box")).run();
        assert!(output.ok() == "box" && output.stderr.contains("box is already stopped"), "{output}");
    }
    sandbox.banger("vm start box").run().ok();
    let pid = sandbox.existing("box").vmm_pid();
    let again = sandbox.banger("vm start box").run();
    assert!(again.ok() == "box" && again.stderr.contains("box is already running"), "{again}");
    assert_eq!(sandbox.existing("box").vmm_pid(), pid, "it is as it was wanted: nothing is done");
}

#[test]
fn list_and_show_tell_what_there_is() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.banger("vm list --json").run().json()["vms"], serde_json::json!([]));
    sandbox.banger("vm create --name b-box --vcpu 2 --memory 300M").run().ok();
    sandbox.vm("a-box");
    let table = sandbox.banger("vm list").run();
    let lines: Vec<_> = table.ok().lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(lines[1].contains("a-box") && lines[1].contains("running"), "{table}");
    assert!(lines[2].contains("b-box") && lines[2].contains("stopped"), "{table}");
    assert!(sandbox.banger("vm ps").run().ok().contains("a-box"));
    let show = sandbox.existing("b-box").show();
    assert_eq!((&show["spec"]["vcpu"], &show["spec"]["memory"]), (&2.into(), &(300 << 20).into()));
    let running = &sandbox.existing("a-box").show()["running"];
    assert_eq!(running["vmm"], vmm());
    assert!(!running["reason"].as_str().unwrap().is_empty());
    let text = sandbox.banger("vm show a-box").run();
    for word in ["a-box", "running", vmm()] {
        assert!(text.ok().contains(word), "{text}");
    }
}

#[test]
fn logs_are_the_console_of_this_boot_and_on_request_of_earlier_ones() {
    let sandbox = Sandbox::new();
    let vm = sandbox.vm("box");
    vm.exec("sh -c").arg("echo first boot >/dev/console").run().ok();
    vm.does("restart");
    vm.exec("sh -c").arg("echo second boot >/dev/console").run().ok();
    let now = sandbox.banger("vm logs box").run();
    assert!(now.ok().contains("second boot") && !now.ok().contains("first boot"), "{now}");
    let earlier = sandbox.banger("vm logs --boot 1 box").run();
    assert!(earlier.ok().contains("first boot") && !earlier.ok().contains("second boot"), "{earlier}");
    sandbox.banger("vm logs --boot 9 box").run().fails_with(&["9"]);
    let follow = sandbox.banger("vm logs -f box").start();
    vm.exec("sh -c").arg("echo while followed >/dev/console").run().ok();
    vm.does("stop");
    let followed = follow.wait();
    assert!(followed.ok().contains("second boot") && followed.stdout.contains("while followed"), "{followed}");
}

#[test]
fn vms_made_at_the_same_time_have_names_of_their_own() {
    let sandbox = Sandbox::new();
    let calls: Vec<_> = (0..12).map(|_| sandbox.banger("vm create").start()).collect();
    for call in calls {
        call.wait().ok();
    }
    let names = sandbox.vm_names();
    let different: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!((names.len(), different.len()), (12, 12));
}

#[test]
fn a_prune_shows_asks_and_deletes_what_is_stopped() {
    let sandbox = Sandbox::new();
    sandbox.banger("vm prune").run().ok();
    let running = sandbox.vm_with("busy", "--net none");
    for name in ["deleted", "first", "second", "started"] {
        sandbox.banger("vm create --net none --name").arg(name).run().ok();
    }
    sandbox.banger("vm prune").run().fails_with(&["these 4 VMs", "--force"]);
    let mut refusal = Terminal::open(sandbox.banger("vm prune"));
    refusal.shows("delete these 4 VMs");
    refusal.types("n\n");
    assert_eq!(refusal.ends().code(), Some(0), "{}", refusal.shown());
    assert_eq!(sandbox.vm_names(), ["busy", "deleted", "first", "second", "started"], "nothing goes without a yes");
    let mut consent = Terminal::open(sandbox.banger("vm prune"));
    consent.shows("delete these 4 VMs");
    sandbox.banger("vm delete deleted").run().ok();
    let started = sandbox.existing("started");
    started.does("start");
    consent.types("y\n");
    assert_eq!(consent.ends().code(), Some(0), "{}", consent.shown());
    consent.shows("deleted has been deleted in the meantime");
    consent.shows("started is not stopped any more: left alone");
    assert_eq!(sandbox.vm_names(), ["busy", "started"], "a VM that runs is left alone");
    sandbox.banger("vm delete --force started").run().ok();
    running.does("stop");
    assert_eq!(sandbox.banger("vm prune --force").run().ok(), "busy");
    sandbox.assert_no_vm_left();
}
