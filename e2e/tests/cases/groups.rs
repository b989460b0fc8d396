//! A daemon that has a control group to itself, as a systemd unit with `Delegate=yes` has: its VMs are limited, and their
//! groups go with them, whatever becomes of the daemon.

use banger_e2e::{Sandbox, call::Running, place::Place, processes, skip, wait_for};
use std::{
    fs,
    io::{Error, ErrorKind},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

/// What a VM is limited in.
const CONTROLLERS: &str = "+cpu +memory +pids";

#[test]
fn a_daemon_with_a_group_of_its_own_limits_its_vms() {
    let unit = match Unit::make() {
        Ok(unit) => unit,
        Err(why) => skip!("limits of VMs", "there is no control group to share out: {why}"),
    };
    let sandbox = Sandbox::new();
    let daemon = unit.start(&sandbox, &unit.0);
    let vm = sandbox.vm("box");
    let id = vm.show()["id"].as_str().unwrap().to_owned();
    let group = unit.0.join(format!("vm-{id}"));
    let entered = fs::read_to_string(format!("/proc/{}/cgroup", vm.vmm_pid())).unwrap();
    assert!(entered.trim_end().ends_with(&format!("/vm-{id}")), "{entered}");
    let limit = |file: &str| fs::read_to_string(group.join(file)).unwrap().trim().to_owned();
    let given = vm.show()["spec"]["memory"].as_u64().unwrap();
    assert!(limit("memory.max").parse::<u64>().unwrap() > given, "all that it was promised, and its VMM's");
    assert_ne!(limit("cpu.max").split(' ').next(), Some("max"));
    assert_ne!(limit("pids.max"), "max");

    // The next daemon, where a unit with `DelegateSubgroup=daemon` starts it.
    processes::kill(daemon.pid());
    drop(daemon);
    let daemon = unit.start(&sandbox, &unit.0.join("daemon"));
    vm.exec("true").run().ok();
    assert!(group.is_dir());
    sandbox.banger("vm delete --force box").run().ok();
    assert!(!group.exists(), "it goes with the VM");
    sandbox.assert_no_vm_left();
    sandbox.stop_daemon();
    drop(daemon);
}

/// A group with nobody in it, which may be shared out further.
struct Unit(PathBuf);

impl Unit {
    /// Below the group that this process is in, which has to be its alone; the process moves aside.
    fn make() -> Result<Self, Error> {
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).filter(|own| !own.is_empty());
        let own = Path::new("/sys/fs/cgroup").join(own.ok_or(ErrorKind::NotFound)?);
        let members = fs::read_to_string(own.join("cgroup.procs"))?;
        if members.trim() != std::process::id().to_string() {
            return Err(Error::new(ErrorKind::ResourceBusy, "others are in the group of the test"));
        }
        let (aside, unit) = (own.join("test"), own.join("unit"));
        fs::create_dir(&aside)?;
        fs::create_dir(&unit)?;
        fs::write(aside.join("cgroup.procs"), members.trim())?;
        fs::write(own.join("cgroup.subtree_control"), CONTROLLERS)?;
        Ok(Self(unit))
    }

    /// A daemon that begins in that group, once it answers.
    fn start(&self, sandbox: &Sandbox, group: &Path) -> Running {
        let daemon = Place::get().program("bangerd");
        let script = format!("echo $$ >'{}/cgroup.procs' && exec '{}' run", group.display(), daemon.display());
        let running = sandbox.tool("sh").arg("-c").arg(script).start();
        wait_for("the daemon's socket", || UnixStream::connect(sandbox.socket()).ok());
        running
    }
}
