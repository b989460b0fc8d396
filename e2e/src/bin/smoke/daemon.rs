//! What concerns the whole host: its configuration, its daemon, and what is deleted of all that there is.

use banger_e2e::{Call, processes, smoke::User, wait_for};
use std::fs;

fn create(user: &User, what: &str) -> Call {
    user.banger("vm create --name").arg(user.name(what))
}

pub(crate) fn config_file(user: &User) {
    let before = fs::read_to_string(user.config()).unwrap();
    let changed = before.replace("memory = \"256MiB\"", "memory = \"300MiB\"");
    assert_ne!(before, changed);
    fs::write(user.config(), changed).unwrap();
    create(user, "file").succeeds();
    create(user, "flag").words("--memory 400M").succeeds();
    fs::write(user.config(), "[vm]\nmemroy = \"1G\"\n").unwrap();
    create(user, "none").run().expect_status(1).fails_with(&["config.toml", "memroy"]);
    fs::write(user.config(), before).unwrap();
    create(user, "again").succeeds();
    for (what, mib) in [("file", 300), ("flag", 400), ("again", 256)] {
        let vm = user.existing(what);
        assert_eq!(vm.show()["spec"]["memory"], mib << 20, "{what}");
        vm.does("delete");
    }
    assert!(!user.has("none"));
}

pub(crate) fn stopped(user: &User) {
    let vm = user.vm("box");
    let (vmm, kept) = (vm.vmm_pid(), "echo here >/tmp/file");
    vm.sh(kept).succeeds();
    user.banger("daemon stop").succeeds();
    user.banger("daemon status").run().expect_status(1).fails_with(&["not running"]);
    assert!(processes::is_alive(vmm), "the VMM ended with the daemon");
    assert_eq!(vm.exec("cat /tmp/file").run().ok(), "here", "the next command starts a daemon, which knows the VM");
    assert_eq!(vm.vmm_pid(), vmm);
    user.banger("vm delete --force").arg(&vm.name).succeeds();
    assert!(!processes::is_alive(vmm));
}

pub(crate) fn killed(user: &User) {
    let vm = user.vm("box");
    let vmm = vm.vmm_pid();
    vm.exec_with("--detach", "sleep 1005").succeeds();
    let sleeper = vm.wait_for_process("sleep 1005");
    for _ in 0..2 {
        user.kill_daemon();
        assert_eq!(vm.process("sleep 1005"), Some(sleeper));
        assert_eq!((vm.vmm_pid(), vm.status()), (vmm, "running".into()));
    }
    vm.does("stop");
    assert!(!processes::is_alive(vmm));
    vm.does("delete");
}

pub(crate) fn prune(user: &User) {
    for what in ["one", "two", "busy"] {
        create(user, what).succeeds();
    }
    let start = user.banger("vm start").arg(user.name("busy")).start();
    let busy = user.existing("busy");
    wait_for("the VM to start", || (busy.status() == "starting").then_some(()));
    let mut run = user.banger("vm run --rm --quiet --name").arg(user.name("brief")).words("-- echo done").start();
    user.banger("vm prune").run().fails_with(&["--force", "these 2 VMs"]);
    assert!(user.has("one") && user.has("two"), "nothing goes without a yes");
    let prune = user.banger("vm prune --force").run();
    assert_eq!(prune.ok(), format!("{}\n{}", user.name("one"), user.name("two")));
    prune.says(&["USES"]);
    // One that is made, started and used is at rest in none of these moments.
    wait_for("a run beside prunes to end", || {
        assert_eq!(user.banger("vm prune --force").run().ok(), "", "a VM that is to start is left alone");
        (!run.is_running()).then_some(())
    });
    assert_eq!(run.wait().ok(), "done");
    start.wait().ok();
    assert_eq!(user.banger("vm prune --force").run().ok(), "", "a VM that runs is left alone");
    busy.exec("true").succeeds();
    busy.does("stop");
    assert_eq!(user.banger("vm prune -f").run().ok(), busy.name);
    assert!(!user.has("busy"));
}
