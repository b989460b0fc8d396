//! A host with its own interfaces, and an outside that it is connected to, in namespaces that end with the process.
//!
//! A test that needs them runs its own program again in new namespaces, with new user ids unless it is root already.

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

/// Set in the program that runs inside.
const INSIDE: &str = "BANGER_TEST_INSIDE";

/// The host's and the outside's addresses on the cable between them, and link-local ones.
pub(crate) const HOST: &str = "198.51.100.1";
pub(crate) const OUTSIDE: &str = "198.51.100.2";
pub(crate) const HOST_LINK_LOCAL: &str = "169.254.7.1";
pub(crate) const OUTSIDE_LINK_LOCAL: &str = "169.254.7.2";

/// Runs `test`, which must be the test of that name, as a host of its own whose resolver is `resolver`. Skips loudly where
/// no namespaces are to be had.
pub(crate) fn as_a_host(name: &str, resolver: &str, test: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        build(resolver);
        test();
        return;
    }
    let users: &[&str] = if rustix::process::geteuid().is_root() { &[] } else { &["--user", "--map-root-user"] };
    let unshare = |program: &std::ffi::OsStr| {
        let mut command = Command::new("unshare");
        command.args(users).args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]).arg(program);
        command
    };
    let possible = unshare("true".as_ref()).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !possible {
        eprintln!("SKIPPED: {name}: no network namespaces are to be had here");
        return;
    }
    let program = std::env::current_exe().unwrap();
    let inside = unshare(program.as_os_str()).args(["--exact", name, "--nocapture"]).env(INSIDE, "1").output().unwrap();
    let said = [inside.stdout, inside.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(inside.status.success() && said.contains("1 passed"), "inside its namespaces:\n{said}");
    print!("{said}");
}

fn build(resolver: &str) {
    // What is mounted from here on is seen here only, and `ip netns` has a folder of its own.
    run("mount --make-rprivate /");
    run("mount -t tmpfs tmpfs /run");
    std::fs::write("/run/resolv.conf", format!("nameserver {resolver}\n")).unwrap();
    run("mount --bind /run/resolv.conf /etc/resolv.conf");
    run("ip netns add outside");
    run("ip link add host type veth peer name outside netns outside");
    run("ip link set lo up");
    run("ip link set host up");
    run(&format!("ip address add {HOST}/24 dev host"));
    run(&format!("ip address add {HOST_LINK_LOCAL}/16 dev host"));
    run(&format!("ip route add default via {OUTSIDE}"));
    run("ip -n outside link set lo up");
    run("ip -n outside link set outside up");
    run(&format!("ip -n outside address add {OUTSIDE}/24 dev outside"));
    run(&format!("ip -n outside address add {OUTSIDE_LINK_LOCAL}/16 dev outside"));
}

pub(crate) fn run(line: &str) {
    let mut words = line.split(' ');
    let status = Command::new(words.next().unwrap()).args(words).status().unwrap();
    assert!(status.success(), "{line}: {status}");
}

/// Runs something on a thread that lives outside; what it starts does too.
pub(crate) fn outside<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::spawn(|| {
        let namespace = std::fs::File::open("/run/netns/outside").unwrap();
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        f()
    });
    thread.join().unwrap()
}
