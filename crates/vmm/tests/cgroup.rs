//! Control groups on a real cgroup v2 tree: a process that takes more than its group may is ended, and nobody else.
//!
//! Needs a group of its own: `systemd-run -p Delegate=yes --pipe --wait PROGRAM`, as root or with `--user`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod support;

use banger_model::ByteSize;
use banger_vmm::confine::cgroup::Groups;
use banger_vmm::confine::group_limits::{Controller, GroupLimits};
use banger_vmm::{Companion, CompanionConfig, Engine, Exit};
use rustix::process::Signal;
use std::path::Path;
use support::{BOUND, Place};

/// Says that it is ready, then does that.
fn companion(place: &Place, group: &Path, script: &str) -> CompanionConfig {
    let socket = place.path("net.sock");
    let script = format!("echo ready; {script}");
    let words = ["-c", &script, "companion", "--vm", place.vm.as_str(), "--socket", socket.to_str().unwrap()];
    CompanionConfig {
        vm: place.vm,
        program: "/bin/sh".into(),
        args: words.into_iter().map(Into::into).collect(),
        log: place.path("companion.log"),
        record: place.path("companion.json"),
        cgroup: Some(group.into()),
    }
}

#[tokio::test]
async fn delegated_groups_hold_what_runs_in_them_to_their_limits() {
    let groups = match Groups::take() {
        Ok(groups) => groups,
        Err(why) => {
            eprintln!("SKIPPED: delegated_groups_hold_what_runs_in_them_to_their_limits: {why}");
            return;
        }
    };
    assert_eq!(groups.controllers(), Controller::ALL, "{groups:?}");
    let (place, other) = (Place::new(), Place::new());
    let (name, group) = ("vm-test", groups.path("vm-test"));
    let limits = GroupLimits::of(1, ByteSize::mib(16), Engine::Firecracker);
    assert!(groups.ensure(name, &limits).unwrap());
    assert!(!groups.ensure(name, &limits).unwrap(), "it is there");
    assert!(groups.ensure("vm-other", &limits).unwrap());
    let setting = |file: &str| std::fs::read_to_string(group.join(file)).unwrap().trim().to_owned();
    assert_eq!(setting("memory.max"), (ByteSize::mib(16 + 128).0).to_string());
    assert_eq!((setting("cpu.max").as_str(), setting("pids.max").as_str()), ("200000 100000", "129"));

    let quiet = Companion::start(&companion(&other, &groups.path("vm-other"), "exec sleep 1000")).await.unwrap();
    let place_of = std::fs::read_to_string(format!("/proc/{}/cgroup", quiet.pid())).unwrap();
    assert!(place_of.trim_end().ends_with("/vm-other"), "{place_of}");
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    assert!(own.trim_end().ends_with("/daemon"), "{own}");

    // A string that doubles until there is no more memory.
    let hog = "x=0123456789abcdef; while :; do x=$x$x; done";
    let hog = Companion::start(&companion(&place, &group, hog)).await.unwrap();
    let exit = tokio::time::timeout(BOUND, hog.exited()).await.expect("it takes no memory");
    assert_eq!(exit, Exit::Signal(Signal::KILL.as_raw()));
    assert!(setting("memory.events").contains("oom_kill 1"), "{}", setting("memory.events"));
    assert!(quiet.is_alive(), "another VM does not suffer");

    assert!(groups.remove(name).unwrap());
    assert!(groups.remove("vm-other").unwrap(), "what is in it still is ended with it");
    assert_eq!(tokio::time::timeout(BOUND, quiet.exited()).await.unwrap(), Exit::Signal(Signal::KILL.as_raw()));
    assert!(!groups.names().unwrap().iter().any(|name| name.starts_with("vm-")), "{:?}", groups.names());

    // A daemon that comes after this one, in the same place, finds all of it.
    assert_eq!(Groups::take().unwrap(), groups);
}
