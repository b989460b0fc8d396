//! The real filter between a guest's stack and the real `passt`. Needs the package passt.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod support;

use std::path::Path;
use std::time::Instant;
use support::filter::{Filter, wait_until_gone};
use support::guest::{Attempt, Guest};
use support::namespaces::{HOST, HOST_LINK_LOCAL, OUTSIDE, OUTSIDE_LINK_LOCAL, as_a_host, outside, run};
use support::servers::{PORT, RESOLVED, address, is_reachable_from_the_host, resolve, serve};
use support::slirp::Slirp;

fn guest() -> (Filter, Guest) {
    let filter = Filter::start().unwrap();
    let guest = Guest::new(filter.connect());
    (filter, guest)
}

#[test]
fn the_guest_reaches_the_outside_and_the_resolver_but_never_the_host() {
    as_a_host("the_guest_reaches_the_outside_and_the_resolver_but_never_the_host", OUTSIDE, || {
        let forbidden = ["127.0.0.1", "127.8.8.8", HOST, HOST_LINK_LOCAL];
        forbidden.into_iter().for_each(serve);
        outside(|| {
            serve(OUTSIDE);
            serve(OUTSIDE_LINK_LOCAL);
            resolve(OUTSIDE);
        });
        let (filter, mut guest) = guest();
        assert_eq!(guest.echo(address(OUTSIDE, PORT), b"hello"), b"hello");
        assert_eq!(guest.ask(address(OUTSIDE, PORT), b"hello").as_deref(), Some(&b"hello"[..]));
        let resolved = [RESOLVED, b"name"].concat();
        assert_eq!(guest.ask(address("10.0.2.3", 53), b"name"), Some(resolved));
        assert_eq!(guest.connect(address(OUTSIDE, PORT + 1)), Attempt::Reset, "nobody listens there");

        for ip in forbidden.into_iter().chain([OUTSIDE_LINK_LOCAL]) {
            assert!(is_reachable_from_the_host(ip), "{ip}: the test itself is broken");
            assert!(guest.cannot_connect(address(ip, PORT)), "TCP to {ip}");
            assert!(guest.cannot_ask(address(ip, PORT)), "UDP to {ip}");
        }
        // Linux takes these for the host itself; the gateway is it under another name.
        for ip in ["0.1.2.3", "10.0.2.2"] {
            assert!(guest.cannot_connect(address(ip, PORT)), "TCP to {ip}");
        }
        let log = filter.log();
        for reason in ["loopback", "host-address", "link-local", "this-host", "virtual-subnet"] {
            assert!(log.contains(reason), "{reason} is not in the log:\n{log}");
        }
    });
}

/// That nothing of the host's loopback is reached through the filter says something only because the same guest, asked in
/// the same way, does reach it through QEMU's own user-mode network.
#[test]
fn qemus_own_user_network_does_not_keep_the_promise() {
    let name = "qemus_own_user_network_does_not_keep_the_promise";
    as_a_host(name, OUTSIDE, || {
        serve("127.0.0.1");
        let loopback = address("10.0.2.2", PORT);
        let (_filter, mut kept) = guest();
        assert!(kept.cannot_connect(loopback) && kept.cannot_ask(loopback));
        let Some((_slirp, stream)) = Slirp::start() else {
            return eprintln!("SKIPPED: {name}: no qemu-system-x86_64");
        };
        let mut broken = Guest::new(stream);
        assert_eq!(broken.echo(loopback, b"hello"), b"hello", "TCP");
        assert_eq!(broken.ask(loopback, b"hello").as_deref(), Some(&b"hello"[..]), "UDP");
        assert!(!broken.cannot_connect(loopback) && !broken.cannot_ask(loopback));
    });
}

#[test]
fn an_address_that_the_host_gets_later_is_out_of_reach_too() {
    as_a_host("an_address_that_the_host_gets_later_is_out_of_reach_too", OUTSIDE, || {
        let late = "203.0.113.9";
        run("ip -n outside address add 203.0.113.9/32 dev lo");
        outside(move || serve(late));
        let (_filter, mut guest) = guest();
        assert_eq!(guest.ask(address(late, PORT), b"outside").as_deref(), Some(&b"outside"[..]));
        run("ip address add 203.0.113.9/32 dev lo");
        serve(late);
        assert!(is_reachable_from_the_host(late));
        assert!(guest.cannot_ask(address(late, PORT)));
        assert!(guest.cannot_connect(address(late, PORT)));
        run("ip address del 203.0.113.9/32 dev lo");
        assert_eq!(guest.ask(address(late, PORT), b"outside").as_deref(), Some(&b"outside"[..]));
    });
}

#[test]
fn a_resolver_on_the_hosts_loopback_answers_and_nothing_else_there() {
    as_a_host("a_resolver_on_the_hosts_loopback_answers_and_nothing_else_there", "127.0.0.53", || {
        resolve("127.0.0.53");
        serve("127.0.0.53");
        let (_filter, mut guest) = guest();
        let resolved = [RESOLVED, b"name"].concat();
        assert_eq!(guest.ask(address("10.0.2.3", 53), b"name"), Some(resolved));
        assert!(guest.cannot_ask(address("10.0.2.3", PORT)));
        assert!(guest.cannot_ask(address("127.0.0.53", 53)));
        assert!(guest.cannot_connect(address("127.0.0.53", PORT)));
    });
}

#[test]
fn many_bytes_come_back_unharmed() {
    as_a_host("many_bytes_come_back_unharmed", OUTSIDE, || {
        outside(|| serve(OUTSIDE));
        let (filter, mut guest) = guest();
        let bytes: Vec<u8> = (0..8u32 << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let start = Instant::now();
        let got = guest.echo(address(OUTSIDE, PORT), &bytes);
        let changed = got.iter().zip(&bytes).position(|(got, sent)| got != sent);
        assert_eq!((got.len(), changed), (bytes.len(), None), "the bytes came back changed");
        let (took, filter) = (start.elapsed(), filter.cpu_time());
        println!("{} MiB there and back in {took:?}, of which the filter computed for {filter:?}", bytes.len() >> 20);
    });
}

#[test]
fn a_guest_under_another_address_reaches_nothing() {
    as_a_host("a_guest_under_another_address_reaches_nothing", OUTSIDE, || {
        outside(|| serve(OUTSIDE));
        let filter = Filter::start().unwrap();
        let mut guest = Guest::with_address(filter.connect(), "10.0.2.77".parse().unwrap());
        assert!(guest.cannot_connect(address(OUTSIDE, PORT)));
        assert!(filter.log().contains("not-the-guests"), "{}", filter.log());
    });
}

#[test]
fn it_ends_when_qemu_hangs_up_and_takes_passt_along() {
    let mut taken = Filter::start().unwrap();
    let passt = taken.passt_pid();
    drop(taken.connect());
    assert_eq!(taken.ended().code(), Some(0), "{}", taken.log());
    wait_until_gone(passt, "passt");
    let mut never_taken = Filter::start().unwrap();
    never_taken.hang_up();
    assert_eq!(never_taken.ended().code(), Some(0), "{}", never_taken.log());
}

#[test]
fn it_ends_when_told_to() {
    let mut filter = Filter::start().unwrap();
    let _stream = filter.connect();
    let passt = filter.passt_pid();
    let pid = rustix::process::Pid::from_raw(filter.pid().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(filter.ended().code(), Some(0), "{}", filter.log());
    wait_until_gone(passt, "passt");
}

#[test]
fn without_a_qemu_it_ends_with_a_word() {
    let why = Filter::without_qemu().err().unwrap();
    assert!(why.contains("exit status: 1") && why.contains("QEMU cannot be reached"), "{why}");
}

#[test]
fn passt_does_not_outlive_a_killed_filter() {
    let mut filter = Filter::start().unwrap();
    let passt = filter.passt_pid();
    filter.kill();
    filter.ended();
    wait_until_gone(passt, "passt");
}

#[test]
fn a_killed_passt_ends_it_with_a_word() {
    let mut filter = Filter::start().unwrap();
    let _stream = filter.connect();
    let passt = rustix::process::Pid::from_raw(filter.passt_pid().cast_signed()).unwrap();
    rustix::process::kill_process(passt, rustix::process::Signal::KILL).unwrap();
    assert_eq!(filter.ended().code(), Some(1));
    assert!(filter.log().contains("signal: 9"), "{}", filter.log());
}

#[test]
fn a_missing_or_useless_passt_is_named() {
    let missing = Filter::with_passt(Path::new("/nonexistent/passt")).err().unwrap();
    assert!(missing.contains("exit status: 1") && missing.contains("/nonexistent/passt"), "{missing}");
    let useless = Filter::with_passt(Path::new("/bin/false")).err().unwrap();
    assert!(useless.contains("passt is of no use: exit status: 1"), "{useless}");
}
