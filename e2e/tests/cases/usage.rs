//! What VMs use, what they may use, and what they may leave on the host's disk. The same on every VMM.

use banger_e2e::{Sandbox, wait_for};
use serde_json::Value;
use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::MetadataExt,
    time::{Duration, Instant},
};

const MIB: u64 = 1 << 20;

fn disk(stats: &Value, name: &str, figure: &str) -> u64 {
    let disks = stats["disks"].as_array().unwrap_or_else(|| panic!("{stats}"));
    let disk = disks.iter().find(|disk| disk["name"] == name).unwrap_or_else(|| panic!("{stats}"));
    disk[figure].as_u64().unwrap()
}

#[test]
fn stats_tell_what_a_vm_uses_also_to_the_next_daemon() {
    let sandbox = Sandbox::new();
    let vm = sandbox.vm("box");
    vm.sh("dd if=/dev/zero of=/root/x bs=1M count=8 && sync").run().ok();
    let look = || sandbox.banger("vm stats --json --interval 100 box").run().json();
    let stats = wait_for("the guest to tell of its memory", || {
        let stats = look();
        stats["memory"]["guest"].is_object().then_some(stats)
    });
    assert_eq!(stats["name"], "box");
    assert!(stats["uptime_ms"].as_u64() > Some(0) && stats["cpu"]["used_ms"].as_u64() > Some(0), "{stats}");
    assert!(stats["cpu"]["percent"].is_number(), "{stats}");
    let figure = |name: &str| stats["memory"][name].as_u64().unwrap_or_else(|| panic!("{stats}"));
    assert!(figure("assigned") == 256 * MIB && figure("resident") > 20 * MIB && figure("proportional") > 0, "{stats}");
    let guest = |name: &str| stats["memory"]["guest"][name].as_u64().unwrap();
    assert!((64 * MIB..=256 * MIB).contains(&guest("total")) && guest("used") < guest("total"), "{stats}");
    assert!(disk(&stats, "work", "written") >= 8 * MIB, "{stats}");
    assert!(disk(&stats, "image", "read") > 0 && disk(&stats, "image", "written") == 0, "{stats}");
    let shown = vm.show();
    if shown["running"]["vmm"] == "firecracker" {
        assert!(stats["vsock"]["from_guest"].as_u64() > Some(0) && stats["vsock"]["to_guest"].as_u64() > Some(0));
    }

    // Sums go on from where they were, whoever asks.
    sandbox.kill_daemon(sandbox.daemon_pid());
    vm.sh("dd if=/dev/zero of=/root/y bs=1M count=4 && sync").run().ok();
    let later = look();
    assert!(disk(&later, "work", "written") >= disk(&stats, "work", "written") + 4 * MIB, "{stats}, then {later}");
    assert!(disk(&later, "image", "read") >= disk(&stats, "image", "read"), "{stats}, then {later}");

    let table = sandbox.banger("vm stats --interval 0").run();
    assert!(table.ok().lines().count() == 2 && table.ok().contains("box"), "{table}");
    vm.does("stop");
    sandbox.banger("vm stats box").run().fails_with(&["box", "not running"]);
    assert_eq!(sandbox.banger("vm stats").run().ok(), "");
}

#[test]
fn a_console_that_grows_for_ever_is_cut_and_its_end_stays() {
    let sandbox = Sandbox::new();
    let vm = sandbox.vm("box");
    let id = vm.show()["id"].as_str().unwrap().to_owned();
    let path = sandbox.state().join("vms").join(id).join("console.1.log");
    // As a guest would that printed so much; it is the VMM that writes on behind it.
    let lines: String = (0..400_000).map(|n| format!("line {n:>40}\n")).collect();
    OpenOptions::new().append(true).open(&path).unwrap().write_all(lines.as_bytes()).unwrap();
    let on_disk = || fs::metadata(&path).unwrap().blocks() * 512;
    wait_for("the console to be cut", || (on_disk() <= 8 * MIB).then_some(()));
    vm.sh("echo the last word >/dev/console").run().ok();
    let logs = sandbox.banger("vm logs box").run();
    assert!(logs.ok().contains(&format!("line {:>40}\n", 399_999)), "{} bytes", logs.stdout.len());
    assert!(logs.ok().contains("the last word") && !logs.ok().contains('\0'));
    assert!((3 * MIB..9 * MIB).contains(&(logs.stdout.len() as u64)), "{} bytes", logs.stdout.len());
    let follow = sandbox.banger("vm logs -f box").start();
    vm.does("stop");
    assert!(follow.wait().ok().contains("the last word"));
}

#[test]
fn a_disk_is_as_fast_as_it_may_be() {
    let sandbox = Sandbox::new();
    let vm = sandbox.vm_with("box", "--disk-bandwidth 4MiB --disk-iops 2000");
    assert_eq!(vm.show()["spec"]["limits"]["iops"], 2000);
    let start = Instant::now();
    vm.sh("dd if=/dev/zero of=/root/x bs=1M count=20 && sync").run().ok();
    // What was not used before may be used at once; the rest comes at 4 MiB a second.
    let took = start.elapsed();
    assert!(took > Duration::from_secs(3), "{took:?}");
    sandbox.banger("vm create --disk-bandwidth 1KiB").run().fails_with(&["disk bandwidth", "1 MiB"]);
}
