//! A daemon that is killed at any moment of a run leaves, after the next start, nothing that nobody asked for.

use banger_e2e::{Sandbox, fixture::registry::Registry, skip, wait_for};
use std::{path::PathBuf, time::Duration};

/// Kills the daemon at a moment of a run, and looks at what the next one makes of it. A client that has `met` that daemon ends
/// with it; one that may not have, and would go on with the next one, is ended.
fn killed(met: bool, moment: impl FnOnce(&Sandbox)) {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon_pid();
    let run = sandbox.banger("vm run --rm --name box -- sleep 1000").start();
    moment(&sandbox);
    sandbox.kill_daemon(daemon);
    if met {
        run.wait().fails_with(&[]);
    } else {
        drop(run);
    }
    // The next daemon finds what the last one left: the VM's client has gone, so the VM has to go.
    wait_for("the VM to go", || sandbox.vm_names().is_empty().then_some(()));
    sandbox.assert_no_vm_left();
}

#[test]
fn killed_while_a_vm_is_being_made() {
    for milliseconds in [0, 15, 60] {
        killed(false, |_| std::thread::sleep(Duration::from_millis(milliseconds)));
    }
}

#[test]
fn killed_while_a_vm_boots() {
    killed(true, |sandbox| {
        wait_for("the boot", || {
            let open = sandbox.api("GET", "/operations", None).run().json();
            (open["operations"][0]["stage"]["stage"] == "boot").then_some(())
        });
    });
}

#[test]
fn killed_while_a_command_runs() {
    killed(true, |sandbox| {
        sandbox.existing("box").wait_for_process("sleep 1000");
    });
}

#[test]
fn killed_while_an_image_is_being_pulled() {
    let Some(registry) = Registry::shared() else { skip!("crash: pull", "no docker-registry") };
    let sandbox = Sandbox::empty();
    for milliseconds in [0, 30, 100, 250] {
        let daemon = sandbox.daemon_pid();
        let pull = sandbox.banger("image pull").arg(format!("{}/team/dev:1", registry.host)).start();
        std::thread::sleep(Duration::from_millis(milliseconds));
        sandbox.kill_daemon(daemon);
        let _ = pull.wait();
        let list = sandbox.banger("image list --json").run().json();
        assert_eq!(banger_e2e::sandbox::entries(&sandbox.data().join("staging")), Vec::<PathBuf>::new());
        // It had won the race: the image is whole, and the next round begins again.
        for image in list["images"].as_array().unwrap() {
            sandbox.banger("image delete").arg(image["name"].as_str().unwrap()).run().ok();
        }
    }
    sandbox.banger("image pull").arg(format!("{}/team/dev:1", registry.host)).run().ok();
}
