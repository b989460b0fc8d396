//! Which program runs a VM, and how it is found out.

use banger_e2e::{Call, Sandbox, need::is_root, place::Place, skip, surroundings};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
};

#[test]
fn auto_says_in_one_line_what_it_took_and_why() {
    let sandbox = Sandbox::new();
    let run = sandbox.banger("vm run --name box -- true").run();
    run.ok();
    let running = sandbox.existing("box");
    if running.status() == "stopped" {
        running.does("start");
    }
    let shown = running.show()["running"].clone();
    if surroundings::is_firecracker() {
        assert_eq!((&shown["vmm"], &shown["accel"]), (&"firecracker".into(), &"kvm".into()), "{run}");
    }
    let reason = shown["reason"].as_str().unwrap();
    assert!(!reason.is_empty() && !reason.contains('\n'), "{reason}");
    if shown["accel"] == "tcg" {
        assert!(reason.contains("KVM") || reason.contains("/dev/kvm"), "{reason}");
        let lines = run.stderr.lines().filter(|line| line.to_lowercase().contains("kvm")).count();
        assert_eq!(lines, 1, "{run}");
    }
}

#[test]
fn what_was_found_out_about_kvm_is_remembered() {
    if fs::File::options().read(true).write(true).open(KVM).is_err() {
        skip!("vmm: what was found out about KVM", "no /dev/kvm that this user may try");
    }
    let sandbox = Sandbox::new();
    // What the run that filled the store has found out.
    fs::remove_dir_all(sandbox.state().join("proofs")).unwrap();
    let tries = || {
        let log = fs::read_to_string(sandbox.state().join("bangerd.log")).unwrap();
        log.matches("\"tried KVM\"").count()
    };
    let run = format!("vm run --rm --vmm {} -- true", surroundings::vmm());
    sandbox.banger(&run).run().ok();
    assert_eq!(tries(), 1, "it was tried before it was trusted");
    sandbox.stop_daemon();
    let second = sandbox.banger(&run).run();
    second.ok();
    assert_eq!(tries(), 1, "the next daemon knows: {second}");
}

/// `/dev/kvm` is not as it was, until this ends.
struct Spoilt;

const KVM: &str = "/dev/kvm";
const KVM_AWAY: &str = "/dev/kvm.away";

impl Spoilt {
    /// It is not there.
    fn taken_away() -> Self {
        fs::rename(KVM, KVM_AWAY).unwrap();
        Self
    }

    /// Only root may open it.
    fn closed() -> Self {
        fs::set_permissions(KVM, fs::Permissions::from_mode(0o600)).unwrap();
        Self
    }
}

impl Drop for Spoilt {
    fn drop(&mut self) {
        let _ = fs::rename(KVM_AWAY, KVM);
        let _ = fs::set_permissions(KVM, fs::Permissions::from_mode(0o660));
    }
}

#[test]
fn root_a_kvm_that_is_taken_away_or_closed_is_told_with_what_to_do() {
    if !is_root() || !surroundings::is_firecracker() {
        skip!("vmm: KVM is taken away", "needs a KVM that works, and root to take it away");
    }
    let sandbox = Sandbox::new();
    let run = || sandbox.banger("vm run --rm -- true").run();
    run().ok();
    {
        let _spoilt = Spoilt::taken_away();
        // What was found out before does not count, and nothing else could run it here.
        run().fails_with(&["there is no /dev/kvm: its module is loaded", "nor is there QEMU", "banger doctor"]);
        sandbox.assert_nothing_runs();
    }
    run().ok();
    sandbox.stop_daemon();
    let _spoilt = Spoilt::closed();
    let home = sandbox.scratch().join("tester");
    fs::create_dir(&home).unwrap();
    fs::set_permissions(sandbox.scratch(), fs::Permissions::from_mode(0o755)).unwrap();
    let tester = fs::read_to_string("/etc/passwd").unwrap();
    let uid = tester.lines().find_map(|line| line.strip_prefix("tester:x:")?.split(':').next()?.parse().ok());
    chown(&home, uid, uid).unwrap();
    let as_tester = |words: &str| {
        let call = Call::new("setpriv").words("--reuid=tester --regid=tester --init-groups env -i");
        let call = call.arg(format!("HOME={}", home.display())).arg(format!("PATH={}", std::env::var("PATH").unwrap()));
        call.arg(Place::get().program("banger")).words(words).within(banger_e2e::BOUND).run()
    };
    let doctor = as_tester("doctor");
    as_tester("daemon stop -q");
    assert!(doctor.stdout.contains("this user may not open /dev/kvm"), "{doctor}");
    assert!(doctor.stdout.contains("sudo chmod 660 /dev/kvm"), "{doctor}");
}

#[test]
fn a_vmm_that_is_not_there_is_named_with_what_to_do() {
    let sandbox = Sandbox::new();
    sandbox.configure(&format!(
        "image = \"{}\"\n[programs]\nqemu = \"/no/such/qemu\"\n",
        banger_e2e::fixture::image::busybox_reference()
    ));
    let run = sandbox.banger("vm run --rm --vmm qemu -- true").run();
    run.fails_with(&["/no/such/qemu"]);
    sandbox.assert_nothing_runs();

    sandbox.configure(&format!(
        "image = \"{}\"\n[programs]\nfirecracker = \"/no/such/firecracker\"\n",
        banger_e2e::fixture::image::busybox_reference()
    ));
    let run = sandbox.banger("vm run --rm --vmm firecracker -- true").run();
    run.fails_with(&["/no/such/firecracker", "hint: "]);
    sandbox.assert_nothing_runs();
}

/// A sandbox that knows the real Firecracker.
fn with_firecracker() -> Option<Sandbox> {
    let program = Place::get().tool("firecracker", "firecracker")?;
    if !Path::new("/dev/kvm").exists() {
        return None;
    }
    let sandbox = Sandbox::new();
    let image = banger_e2e::fixture::image::busybox_reference();
    sandbox.configure(&format!("image = \"{image}\"\n[programs]\nfirecracker = \"{}\"\n", program.display()));
    Some(sandbox)
}

#[test]
fn firecracker_boots_or_says_what_stood_in_the_way_and_leaves_nothing() {
    let Some(sandbox) = with_firecracker() else { skip!("vmm: firecracker", "no Firecracker or no /dev/kvm") };
    let run = sandbox.banger("vm run --rm --name box --vmm firecracker -- echo up").run();
    if run.status.success() {
        assert_eq!(run.stdout, "up\n");
        sandbox.assert_no_vm_left();
        return;
    }
    // This host's KVM does not carry a guest: found out in time, and said.
    run.fails_with(&["irecracker"]);
    assert!(run.stderr.to_lowercase().contains("kvm"), "{run}");
    sandbox.assert_nothing_runs();
}

#[test]
fn firecracker_has_no_network_and_says_so() {
    let Some(sandbox) = with_firecracker() else {
        skip!("vmm: firecracker and networks", "no Firecracker or no /dev/kvm")
    };
    let run = sandbox.banger("vm run --rm --vmm firecracker --net user -- true").run();
    run.fails_with(&["irecracker", "network"]);
    sandbox.assert_no_vm_left();
}

#[test]
fn a_vmm_that_dies_at_once_is_told_with_its_words() {
    let sandbox = Sandbox::new();
    let fake = sandbox.scratch().join("qemu");
    fs::write(
        &fake,
        "#!/bin/sh\ncase \"$*\" in *version*) exec qemu-system-x86_64 --version;; esac\necho cannot do that >&2\nexit 1\n",
    )
    .unwrap();
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&fake, mode).unwrap();
    let image = banger_e2e::fixture::image::busybox_reference();
    sandbox.configure(&format!("image = \"{image}\"\n[programs]\nqemu = \"{}\"\n", fake.display()));
    let run = sandbox.banger("vm run --rm --name box --vmm qemu -- true").run();
    run.fails_with(&["box", "cannot do that"]);
    assert!(run.took < std::time::Duration::from_secs(60), "{run}");
    sandbox.assert_nothing_runs();
}
