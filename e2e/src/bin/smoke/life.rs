//! VMs that have names and stay.

use banger_e2e::{Vm, smoke::User};
use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt};

fn delete(user: &User, vm: &Vm<'_>) {
    user.banger("vm delete --force").arg(&vm.name).succeeds();
}

fn why_it_ended(vm: &Vm<'_>) -> String {
    vm.show()["last_end"]["reason"]["why"].as_str().unwrap_or_default().to_owned()
}

/// The VM of that name, created and no more.
fn created<'a>(user: &'a User, what: &str) -> Vm<'a> {
    user.banger("vm create --name").arg(user.name(what)).succeeds();
    user.existing(what)
}

pub(crate) fn life(user: &User) {
    let vm = created(user, "box");
    assert_eq!(vm.status(), "stopped");
    vm.does("start");
    assert_eq!(vm.status(), "running");
    assert_eq!(vm.exec("uname -s").run().ok(), "Linux");
    user.banger("vm delete").arg(&vm.name).run().expect_status(1).fails_with(&[&vm.name, "running", "--force"]);
    vm.does("stop");
    assert_eq!((vm.status(), why_it_ended(&vm)), ("stopped".into(), "stopped".into()));
    vm.does("delete");
    assert!(!user.has("box"));
}

pub(crate) fn two_clients(user: &User) {
    let vm = created(user, "box");
    // One does it; the other finds it done, or is told what the VM is doing.
    let both = |words: &str, meanwhile: &str| {
        let call = || user.banger(words).arg(&vm.name).start();
        let outputs = [call(), call()].map(|call| call.wait());
        assert!(outputs.iter().any(|output| output.status.success()), "{}\n{}", outputs[0], outputs[1]);
        for output in outputs.iter().filter(|output| !output.status.success()) {
            let told = [format!("it is {meanwhile}"), format!("there is no VM named {}", vm.name)];
            assert!(told.iter().any(|words| output.stderr.contains(words)), "{output}");
        }
    };
    both("vm start", "starting");
    assert_eq!((vm.status(), &vm.show()["boots"]), ("running".into(), &1.into()), "it was started once");
    vm.exec("true").succeeds();
    both("vm kill", "stopping");
    assert_eq!((vm.status(), why_it_ended(&vm)), ("stopped".into(), "killed".into()));
    both("vm delete", "deleting");
    assert!(!user.has("box"));
}

pub(crate) fn restart_and_logs(user: &User) {
    let vm = user.vm("box");
    let boot = "cat /proc/sys/kernel/random/boot_id";
    let first =
        vm.sh(&format!("echo kept >/root/file; sync; echo words of the first boot >/dev/console; {boot}")).run();
    vm.does("restart");
    let second = vm.sh(&format!("cat /root/file; echo words of the second boot >/dev/console; {boot}")).run();
    assert!(second.ok().starts_with("kept\n") && !second.ok().ends_with(first.ok()), "{first}{second}");
    let logs = |words: &str| user.banger("vm logs").words(words).arg(&vm.name).succeeds().stdout;
    let (now, earlier) = (logs(""), logs("--boot 1"));
    assert!(now.contains("of the second boot") && !now.contains("of the first boot"), "{now}");
    assert!(earlier.contains("of the first boot") && !earlier.contains("of the second boot"), "{earlier}");
    user.banger("vm logs --boot 9").arg(&vm.name).run().expect_status(1).fails_with(&["9"]);
    delete(user, &vm);
}

pub(crate) fn kill(user: &User) {
    let vm = user.vm("box");
    let command = vm.exec("sleep 1003").start();
    vm.wait_for_process("sleep 1003");
    vm.does("kill");
    command.wait().expect_status(125).fails_with(&[&vm.name]);
    assert_eq!((vm.status(), why_it_ended(&vm)), ("stopped".into(), "killed".into()));
    vm.exec("true").run().expect_status(125).fails_with(&[&vm.name, "stopped"]);
    vm.does("delete");
    assert!(!user.has("box"));
}

pub(crate) fn copy(user: &User) {
    let vm = user.vm("box");
    let (folder, bytes) = (user.folder(), vec![7; 2 << 20]);
    fs::create_dir_all(folder.join("there/below")).unwrap();
    fs::write(folder.join("there/below/bytes"), &bytes).unwrap();
    fs::write(folder.join("there/tool"), "#!/bin/sh\necho it runs\n").unwrap();
    fs::set_permissions(folder.join("there/tool"), fs::Permissions::from_mode(0o750)).unwrap();
    let guest = |path: &str| format!("{}:{path}", vm.name);
    user.banger("vm cp there").arg(guest("/root/")).succeeds();
    assert_eq!(vm.sh("cd /root/there && ./tool && stat -c %s below/bytes").run().ok(), "it runs\n2097152");
    user.banger("vm cp").arg(guest("/root/there")).arg("back").succeeds();
    assert!(fs::read(folder.join("back/below/bytes")).unwrap() == bytes, "other bytes came back");
    let mode = fs::metadata(folder.join("back/tool")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o750);
    user.banger("vm cp").arg(guest("/root/none")).arg("none").run().expect_status(1).fails_with(&["/root/none"]);
    assert!(!folder.join("none").exists());
    delete(user, &vm);
}

pub(crate) fn detach(user: &User) {
    let name = user.name("box");
    let run = user.banger("vm run --detach --name").arg(&name).run();
    assert_eq!(run.ok(), name);
    let vm = user.existing("box");
    vm.exec_with("--detach", "sleep 1004").succeeds();
    vm.wait_for_process("sleep 1004");
    let shell = user.banger("vm shell").arg(&name).stdin("echo out; echo aside >&2; exit 3\n").run();
    shell.expect_status(3);
    assert_eq!((shell.stdout.as_str(), shell.stderr.as_str()), ("out\n", "aside\n"));
    let stats = user.banger("vm stats --json --interval 0").arg(&name).run().json();
    assert_eq!((&stats["name"], &stats["memory"]["assigned"]), (&name.as_str().into(), &(256 << 20).into()), "{stats}");
    // Whoever looks at all does not mind that some end meanwhile.
    let all = user.banger("vm stats --interval 3000").start();
    delete(user, &vm);
    assert!(!user.has("box"));
    all.wait().ok();
}

pub(crate) fn list_and_show(user: &User) {
    let name = user.name("box");
    user.banger("vm create --vcpu 2 --memory 300M --name").arg(&name).succeeds();
    let vm = user.existing("box");
    for words in ["vm list", "vm ps"] {
        let table = user.banger(words).run();
        let line = table.ok().lines().find(|line| line.starts_with(&name)).unwrap_or_else(|| panic!("{table}"));
        assert!(line.contains("stopped") && line.contains("300 MiB"), "{line}");
    }
    assert!(user.banger("vm list --quiet").run().ok().lines().any(|line| line == name));
    let list = user.banger("vm list --json").run().json();
    let listed = list["vms"].as_array().unwrap().iter().find(|vm| vm["name"] == name.as_str()).cloned();
    assert_eq!(listed, Some(vm.show()), "what is listed is what is shown");
    assert_eq!((&vm.show()["spec"]["vcpu"], &vm.show()["spec"]["memory"]), (&2.into(), &(300 << 20).into()));
    let text = user.banger("vm show").arg(&name).run();
    assert!(text.ok().contains(&name) && text.ok().contains("stopped"), "{text}");
    vm.does("delete");
}

pub(crate) fn name_taken(user: &User) {
    let vm = created(user, "box");
    let id = vm.show()["id"].clone();
    user.banger("vm create --name").arg(&vm.name).run().expect_status(1).fails_with(&[&vm.name]);
    user.banger("vm run --rm --name").arg(&vm.name).words("-- true").run().expect_status(125).fails_with(&[&vm.name]);
    assert_eq!(vm.show()["id"], id, "it is another VM");
    vm.does("delete");
    // And while nobody has it: of two who want it at once, one gets it.
    let call = || user.banger("vm create --name").arg(&vm.name).start();
    let calls = [call(), call()].map(|call| call.wait());
    let (got, refused): (Vec<_>, Vec<_>) = calls.iter().partition(|output| output.status.success());
    assert!(got.len() == 1 && refused.len() == 1, "{}{}", calls[0], calls[1]);
    refused[0].fails_with(&[&vm.name]);
    vm.does("delete");
}

pub(crate) fn many_creates(user: &User) {
    let calls: Vec<_> = (0..8).map(|_| user.banger("vm create --quiet").start()).collect();
    let outputs: Vec<_> = calls.into_iter().map(|call| call.wait()).collect();
    let names: BTreeSet<_> = outputs.iter().map(|output| output.ok().to_owned()).collect();
    assert_eq!(names.len(), 8, "{names:?}");
    let delete = names.iter().fold(user.banger("vm delete --quiet"), |call, name| call.arg(name));
    delete.succeeds();
    let left = user.banger("vm list --quiet").run();
    assert!(!left.ok().lines().any(|name| names.contains(name)), "{left}");
}
