//! Inside a guest: an image with nothing but busybox is a whole machine.

use crate::shared::vm;
use banger_e2e::{Sandbox, place::find, wait_for};
use std::time::{SystemTime, UNIX_EPOCH};

#[test]
fn the_agent_is_pid_1_where_the_image_has_no_init_and_it_reaps() {
    let init = vm().exec("cat /proc/1/cmdline").run();
    assert!(init.ok().starts_with("/init"), "{init}");
    vm().sh("for i in 1 2 3 4 5; do (sleep 0.1 &) ; done; sleep 1").run().ok();
    wait_for("the orphans to be reaped", || {
        let states = vm().sh("grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l").run();
        (states.ok() == "0").then_some(())
    });
}

#[test]
fn the_clock_is_right() {
    let guest = vm().exec("date +%s").run();
    let host = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let guest: u64 = guest.ok().parse().unwrap();
    assert!(guest.abs_diff(host) <= 2, "the guest's clock says {guest}, the host's {host}");
}

#[test]
fn the_host_name_is_the_vms() {
    assert_eq!(vm().exec("hostname").run().ok(), "shared");
}

#[test]
fn the_root_is_writable_and_the_work_disk_holds_what_the_image_had_in_root() {
    vm().sh("echo x >/etc/new && echo y >>/etc/passwd && cat /root/.seeded").run().ok();
    let mounts = vm().exec("cat /proc/mounts").run();
    let find = |at: &str| {
        let line = mounts.ok().lines().find(|line| line.split(' ').nth(1) == Some(at));
        line.unwrap_or_else(|| panic!("nothing at {at}: {mounts}")).to_owned()
    };
    assert!(find("/").contains(" overlay "), "{mounts}");
    assert!(find("/root").contains(" ext4 "), "{mounts}");
    assert_eq!(vm().exec("stat -c %a /tmp").run().ok(), "1777");
    let home = vm().exec("ls -A /root").run();
    assert!(!home.ok().contains("lost+found"), "{home}");
}

#[test]
fn modprobe_finds_every_module_of_the_running_kernel() {
    let count = vm().sh("find /lib/modules/$(uname -r)/ -name '*.ko*' | wc -l").run();
    assert!(count.ok().parse::<u32>().unwrap() > 500, "{count}");
    vm().sh("modprobe dummy && grep '^dummy ' /proc/modules").run().ok();
    vm().sh("modprobe nf_conntrack && grep '^nf_conntrack ' /proc/modules").run().ok();
    let listed = "sed 's/:.*//' /lib/modules/$(uname -r)/modules.dep | while read m; do [ -f /lib/modules/$(uname -r)/$m ] || echo $m; done";
    assert_eq!(vm().sh(listed).run().ok(), "", "modules.dep names files that are not there");
    let written = vm().sh("touch /lib/modules/$(uname -r)/x").run();
    assert!(!written.status.success(), "all VMs share it: {written}");
}

#[test]
fn of_the_drivers_that_a_boot_may_need_those_are_loaded_whose_device_is_there() {
    let types = vm().sh("cat /sys/bus/virtio/devices/*/device").run();
    let loaded = vm().exec("cat /proc/modules").run();
    for (kind, driver) in [
        ("0x0001", "virtio_net"),
        ("0x0002", "virtio_blk"),
        ("0x0003", "virtio_console"),
        ("0x0013", "vmw_vsock_virtio_transport"),
    ] {
        let there = types.ok().lines().any(|found| found == kind);
        let is_loaded = loaded.ok().lines().any(|line| line.split(' ').next() == Some(driver));
        assert_eq!(is_loaded, there, "{driver}: {types} {loaded}");
    }
}

#[test]
fn overlays_can_be_mounted_where_container_engines_keep_theirs() {
    for engine in ["docker", "containers"] {
        let script = format!(
            "cd /var/lib/{engine} && mkdir -p e2e/l e2e/u e2e/w e2e/m && echo low >e2e/l/f && \
             mount -t overlay o -o lowerdir=e2e/l,upperdir=e2e/u,workdir=e2e/w e2e/m && \
             echo high >e2e/m/f && cat e2e/l/f e2e/u/f && umount e2e/m"
        );
        assert_eq!(vm().sh(&script).run().ok(), "low\nhigh", "/var/lib/{engine}");
    }
}

#[test]
fn namespaces_and_file_systems_that_engines_need_are_there() {
    vm().sh("mount | grep -q ' /sys/fs/cgroup type cgroup2' && cat /sys/fs/cgroup/cgroup.controllers | grep -q memory")
        .run()
        .ok();
    vm().sh("unshare -m -u -i -p -n -f true").run().ok();
    vm().sh("test -c /dev/null && test -d /dev/pts && test -w /dev/shm && test -r /sys/kernel").run().ok();
}

#[test]
fn poweroff_in_the_guest_is_a_clean_stop() {
    let sandbox = Sandbox::new();
    let vm = sandbox.vm("box");
    vm.sh("echo last words >/root/file").run().ok();
    vm.exec("poweroff -f").run();
    vm.becomes("stopped");
    assert_eq!(vm.show()["last_end"]["reason"]["why"], "powered-off");
    sandbox.assert_nothing_runs();
    let disk = sandbox.state().join("vms").join(vm.show()["id"].as_str().unwrap()).join("work.v1.ext4");
    let check = banger_e2e::Call::new(find("e2fsck").unwrap()).words("-fn").arg(disk).run();
    assert!(check.status.success(), "{check}");
    vm.does("start");
    assert_eq!(vm.exec("cat /root/file").run().ok(), "last words");
}

#[test]
fn a_panic_ends_the_vm_and_is_told_in_show_and_in_the_error() {
    let sandbox = Sandbox::new();
    let vm = sandbox.vm("box");
    let lost = vm.sh("echo c >/proc/sysrq-trigger; sleep 100").run();
    lost.expect_status(125).fails_with(&["box"]);
    vm.becomes("stopped");
    let end = vm.show()["last_end"]["reason"].clone();
    assert_eq!(end["why"], "panicked", "{end}");
    assert!(end["message"].as_str().unwrap().contains("sysrq"), "{end}");
    let text = sandbox.banger("vm show box").run();
    assert!(text.ok().contains("panic"), "{text}");
    let run = sandbox.banger("vm run --name other -- sh -c").arg("echo c >/proc/sysrq-trigger; sleep 100").run();
    run.expect_status(125).fails_with(&["panic", "other"]);
}

#[test]
fn as_many_processors_and_as_much_memory_as_asked_for() {
    let sandbox = Sandbox::new();
    let output = sandbox.banger("vm run --rm --vcpu 2 --memory 512M --disk-size 3G -- sh -c");
    let output = output.arg("nproc; grep MemTotal /proc/meminfo; df -k /root / | grep -v Filesystem").run();
    let lines: Vec<_> = output.ok().lines().collect();
    assert_eq!(lines[0], "2");
    let number = |line: &str, at: usize| line.split_whitespace().nth(at).unwrap().parse::<u64>().unwrap();
    assert!((400_000..=524_288).contains(&number(lines[1], 1)), "{output}");
    for disk in &lines[2..4] {
        assert!((2_700_000..=3_145_728).contains(&number(disk, 1)), "{output}");
    }
}
