//! The image of the catalog: Debian with systemd, built from the packages that the host trusts.

use banger_e2e::{BOUND, Sandbox, Vm, fixture::store, lab, place::find, skip, surroundings, wait_for};
use std::time::{Duration, Instant};

/// A sandbox with that image, whose machines it wants larger.
fn sandbox() -> Option<Sandbox> {
    find("mmdebstrap")?;
    let sandbox = Sandbox::new();
    store::add_debian(&sandbox);
    sandbox.configure("image = \"debian-bookworm\"\n");
    Some(sandbox)
}

/// Waits until all units have been started. Emulated on a busy host this takes a minute or two, and each look costs time.
fn systemd_is_up(vm: &Vm<'_>) {
    let start = Instant::now();
    loop {
        let state = vm.exec("systemctl is-system-running --wait").within(BOUND * 3).run();
        if matches!(state.stdout.trim(), "running" | "degraded") {
            return;
        }
        assert!(start.elapsed() < BOUND * 3, "systemd does not come up: {state}");
        std::thread::sleep(Duration::from_secs(1));
    }
}

#[test]
fn systemd_comes_up_and_all_that_a_development_machine_needs_is_there() {
    let Some(sandbox) = sandbox() else { skip!("debian: systemd", "no mmdebstrap") };
    let vm = sandbox.vm_with("box", "--memory 512M");
    systemd_is_up(&vm);
    assert_eq!(vm.exec("cat /proc/1/comm").run().ok(), "systemd");
    let failed = vm.exec("systemctl --failed --plain --no-legend").run();
    assert_eq!(failed.ok(), "", "units of a fresh image failed");
    for tool in ["git --version", "curl --version", "bash --version"] {
        vm.exec(tool).run().ok();
    }
    assert!(vm.exec("cat /etc/os-release").run().ok().contains("bookworm"));
    assert_eq!(vm.exec("hostname").run().ok(), "box");
    vm.exec("test -s /etc/ssl/certs/ca-certificates.crt").run().ok();
    vm.exec("test -s /root/.bashrc").run().ok();
    vm.exec("systemctl poweroff").run();
    vm.becomes("stopped");
    assert_eq!(vm.show()["last_end"]["reason"]["why"], "powered-off");
    sandbox.assert_nothing_runs();
}

#[test]
fn an_image_with_systemd_is_run_by_it_on_every_vmm() {
    let (sandbox, image) = match surroundings::store() {
        Some(_) => (Sandbox::new(), lab::host::IMAGE),
        None => match sandbox() {
            Some(sandbox) => (sandbox, "debian-bookworm"),
            None => skip!("debian: systemd on every VMM", "no mmdebstrap"),
        },
    };
    let vm = sandbox.vm_with("box", &format!("--memory 384M --net none --image {image}"));
    wait_for("systemd to be PID 1", || (vm.exec("cat /proc/1/comm").run().ok() == "systemd").then_some(()));
    // Commands run whether it is up or not.
    assert_eq!(vm.exec("echo here").run().ok(), "here");
    wait_for("systemd to have mounted and set up", || {
        let basic = vm.exec("systemctl is-active basic.target").within(BOUND).run();
        (basic.stdout.trim() == "active").then_some(())
    });
    sandbox.banger("vm stop box").within(BOUND).run().ok();
    assert_eq!(vm.show()["last_end"]["reason"]["why"], "stopped");
    let console = sandbox.banger("vm logs box").run();
    assert!(!console.ok().contains("Kernel panic"), "{console}");
    sandbox.assert_nothing_runs();
}

#[test]
fn stop_lets_systemd_end_in_order_and_commands_run_before_it_is_up() {
    let Some(sandbox) = sandbox() else { skip!("debian: stop", "no mmdebstrap") };
    let vm = sandbox.vm_with("box", "--memory 512M");
    systemd_is_up(&vm);
    let unit = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\nExecStop=/bin/sh -c 'echo in order >/root/stopped; sync'\n";
    vm.sh("cat >/etc/systemd/system/last.service && systemctl daemon-reload && systemctl start last")
        .stdin(unit)
        .run()
        .ok();
    // One of the next boot that keeps it from being up.
    let unit = "[Unit]\nBefore=multi-user.target\n[Service]\nType=oneshot\nExecStart=/bin/sleep infinity\nTimeoutStartSec=infinity\n\
                [Install]\nRequiredBy=multi-user.target\n";
    vm.sh("cat >/etc/systemd/system/slow.service && systemctl enable slow").stdin(unit).run().ok();
    let stop = sandbox.banger("vm stop box").within(BOUND).run();
    stop.ok();
    assert_eq!(vm.show()["last_end"]["reason"]["why"], "stopped");
    vm.does("start");
    assert_eq!(vm.exec("cat /root/stopped").run().ok(), "in order");
    wait_for("systemd to say that it is not up yet", || {
        let state = vm.exec("systemctl is-system-running").run();
        matches!(state.stdout.trim(), "initializing" | "starting").then_some(())
    });
    assert_eq!(vm.exec("systemctl is-active multi-user.target").run().stdout.trim(), "inactive");
    assert_eq!(vm.exec("echo here").run().ok(), "here");
}
