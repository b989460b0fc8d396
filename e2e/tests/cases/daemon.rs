//! The daemon: started when needed, alone, and not missed by the VMs when it goes.

use banger_e2e::{
    Sandbox,
    fixture::{image, store},
    place::find,
    processes, wait_for,
};
use std::{fs, os::unix::fs::PermissionsExt};

#[test]
fn it_is_started_when_it_is_not_there_and_stops_when_told() {
    let sandbox = Sandbox::empty();
    assert!(!sandbox.socket().exists());
    sandbox.banger("vm list").run().ok();
    let mode = fs::metadata(sandbox.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "the socket is for its owner alone");
    let status = sandbox.banger("daemon status").run();
    assert!(status.ok().contains(&sandbox.daemon_pid().to_string()), "{status}");
    sandbox.stop_daemon();
    assert!(!sandbox.socket().exists());
    assert_eq!(sandbox.processes(), []);
}

#[test]
fn asking_for_its_status_or_its_end_does_not_start_it() {
    let sandbox = Sandbox::empty();
    let status = sandbox.banger("daemon status").run();
    assert!(format!("{}{}", status.stdout, status.stderr).contains("not running"), "{status}");
    sandbox.banger("daemon stop").run();
    assert_eq!(sandbox.processes(), []);
    assert!(!sandbox.socket().exists());
}

#[test]
fn twenty_clients_at_once_start_one() {
    let sandbox = Sandbox::empty();
    let calls: Vec<_> = (0..20).map(|_| sandbox.banger("vm list --json").start()).collect();
    for call in calls {
        call.wait().ok();
    }
    let daemons = sandbox.processes().into_iter().filter(|p| p.command.contains("bangerd")).count();
    assert_eq!(daemons, 1, "{:?}", sandbox.processes());
}

#[test]
fn a_second_one_is_refused_and_names_the_first() {
    let sandbox = Sandbox::empty();
    let first = sandbox.daemon_pid();
    let program = banger_e2e::place::Place::get().program("bangerd");
    let second = sandbox.tool(&program).words("run").run();
    second.fails_with(&[&first.to_string()]);
    assert_eq!(sandbox.daemon_pid(), first);
}

#[test]
fn a_home_with_a_very_long_path_works() {
    let root = banger_e2e::place::Place::get().folder(&"long".repeat(40));
    let runtime = root.join("x".repeat(60));
    fs::create_dir(&runtime).unwrap();
    let sandbox = Sandbox::at(root, runtime, banger_e2e::place::Place::get().programs.clone());
    // The socket goes elsewhere: ask where.
    sandbox.daemon_pid();
    let status = sandbox.banger("daemon status --json").run();
    let socket = status.json()["socket"].as_str().unwrap().to_owned();
    assert!(socket.len() < 108, "{socket}");
    store::copy_into(&sandbox);
    sandbox.configure(&format!("image = \"{}\"\n", image::busybox_reference()));
    // Its VMM, its network and its agent have sockets as well.
    let net = if find("passt").is_some() { "user" } else { "none" };
    let run = sandbox.banger(&format!("vm run --rm --net {net} -- echo here")).run();
    assert_eq!(run.ok(), "here");
    sandbox.stop_daemon();
    fs::remove_dir_all(std::path::Path::new(&socket).parent().unwrap()).unwrap();
}

#[test]
fn vms_outlive_a_daemon_that_is_stopped() {
    let sandbox = Sandbox::new();
    let vm = sandbox.vm("box");
    let pid = vm.vmm_pid();
    vm.sh("echo here >/tmp/file").run().ok();
    sandbox.stop_daemon();
    assert!(processes::is_alive(pid));
    assert_eq!(vm.exec("cat /tmp/file").run().ok(), "here");
    assert_eq!(vm.vmm_pid(), pid);
}

#[test]
fn vms_outlive_a_daemon_that_is_killed() {
    let sandbox = Sandbox::new();
    let vm = sandbox.vm("box");
    let pid = vm.vmm_pid();
    vm.exec_with("--detach", "sleep 617").run().ok();
    for round in 0..3 {
        sandbox.kill_daemon(sandbox.daemon_pid());
        vm.wait_for_process("sleep 617");
        assert_eq!(vm.vmm_pid(), pid, "round {round}");
    }
    vm.does("stop");
    assert!(!processes::is_alive(pid));
}

#[test]
fn a_vmm_that_dies_while_nobody_looks_is_noticed() {
    let sandbox = Sandbox::new();
    let vm = sandbox.vm("box");
    let pid = vm.vmm_pid();
    sandbox.stop_daemon();
    processes::kill(pid);
    wait_for("the VMM's end", || (!processes::is_alive(pid)).then_some(()));
    assert_eq!(vm.status(), "stopped");
    assert_eq!(vm.show()["last_end"]["reason"]["why"], "lost");
    sandbox.assert_nothing_runs();
    vm.does("start");
    vm.exec("true").run().ok();
}

#[test]
fn a_vmm_that_is_killed_is_noticed_at_once() {
    let sandbox = Sandbox::new();
    let vm = sandbox.vm("box");
    let call = vm.exec("sleep 1000").start();
    vm.wait_for_process("sleep 1000");
    processes::kill(vm.vmm_pid());
    call.wait().expect_status(125).fails_with(&["box"]);
    vm.becomes("stopped");
    assert_eq!(vm.show()["last_end"]["reason"]["why"], "lost");
    sandbox.assert_nothing_runs();
}
