//! The image of the catalog: Debian with systemd, built from the packages that the host trusts.

use banger_e2e::{BOUND, Sandbox, Vm, fixture::store, place::find, skip};
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
fn commands_run_before_init_has_finished_and_systemd_comes_up_beside_them() {
    let Some(sandbox) = sandbox() else { skip!("debian: systemd", "no mmdebstrap") };
    let vm = sandbox.vm_with("box", "--memory 512M");
    let early = vm.exec("cat /proc/uptime").run();
    let up: f64 = early.ok().split('.').next().unwrap().parse().unwrap();
    let state = vm.exec("systemctl is-system-running").run();
    assert!(!state.stdout.contains("running") || up > 20.0, "it should still be starting: {state}");
    assert_eq!(vm.exec("cat /proc/1/comm").run().ok(), "systemd");
    systemd_is_up(&vm);
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
fn stop_lets_systemd_end_in_order() {
    let Some(sandbox) = sandbox() else { skip!("debian: stop", "no mmdebstrap") };
    let vm = sandbox.vm_with("box", "--memory 512M");
    systemd_is_up(&vm);
    let unit = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\nExecStop=/bin/sh -c 'echo in order >/root/stopped; sync'\n";
    vm.sh("cat >/etc/systemd/system/last.service && systemctl daemon-reload && systemctl start last")
        .stdin(unit)
        .run()
        .ok();
    let stop = sandbox.banger("vm stop box").within(BOUND).run();
    stop.ok();
    assert_eq!(vm.show()["last_end"]["reason"]["why"], "stopped");
    vm.does("start");
    assert_eq!(vm.exec("cat /root/stopped").run().ok(), "in order");
}
