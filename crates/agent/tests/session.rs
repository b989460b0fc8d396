//! A session's begin and end, and hosts that do not keep to the protocol.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use banger_model::wire::frame::INITIAL_WINDOW;
use banger_model::wire::guest::{Exec, ExitStatus, Refusal, Request};
use banger_model::wire::hello::Greeting;
use banger_model::wire::{Body, Stream};
use bytes::Bytes;
use support::{Agent, eventually, lives, sh};

#[test]
fn a_host_that_greets_anew_finds_an_empty_session() {
    let mut agent = Agent::start();
    let (channel, pid) = agent.begin(sh("sleep 1000; :"));
    agent.greet([1; 16]);
    eventually(|| !lives(pid));
    // The channel's number is free again.
    agent.send(channel, Body::Open(Box::new(Request::Exec(sh("exit 8")))));
    assert!(matches!(agent.next(channel), Body::Accept(_)));
    assert_eq!(agent.finish(channel).status, ExitStatus::Code(8));
}

#[test]
fn a_greeting_is_known_behind_half_a_frame() {
    let mut agent = Agent::start();
    agent.send_raw(&[200, 0, 0, 0, 1, 0, 0, 0, 4, 0, b'x']);
    std::thread::sleep(std::time::Duration::from_millis(50));
    agent.greet([2; 16]);
    assert_eq!(agent.run(sh("exit 2")).status, ExitStatus::Code(2));
}

#[test]
fn the_end_of_the_connection_ends_its_commands_and_the_agent() {
    let mut agent = Agent::start();
    let (_, pid) = agent.begin(sh("sleep 1000; :"));
    let (_, terminal) =
        agent.begin(Exec { tty: Some(banger_model::wire::guest::TtySize { rows: 1, cols: 1 }), ..sh("sleep 1000; :") });
    agent.hang_up();
    assert!(!lives(pid) && !lives(terminal));
}

#[test]
fn another_version_is_answered_with_ours() {
    let mut agent = Agent::start();
    let theirs = Greeting { version: 999, nonce: [3; 16] };
    agent.send_raw(&theirs.to_guest());
    agent.greet([4; 16]);
    assert_eq!(agent.run(sh("exit 1")).status, ExitStatus::Code(1));
}

#[test]
fn bytes_that_are_no_frames_end_the_session() {
    for bytes in [&[0xff; 64][..], &[1, 0, 0, 0, 1, 0, 0, 0, 99, 0], &[2, 0, 0, 0, 1, 0, 0, 0, 1, b'{', b'x']] {
        let mut agent = Agent::start();
        agent.send_raw(bytes);
        assert!(agent.next_frame().is_none(), "{bytes:?}");
    }
}

#[test]
fn frames_that_are_not_the_hosts_to_send_end_the_session() {
    let stdin = |length: usize| Body::Data(Stream::Stdin, Bytes::from(vec![0; length]));
    let again = || Body::Open(Box::new(Request::Exec(sh("true"))));
    let floods: [Vec<Body>; 4] = [
        vec![again()],
        vec![Body::Exit(ExitStatus::Code(0))],
        vec![Body::Data(Stream::Stdout, Bytes::new())],
        (0..=INITIAL_WINDOW / 32_768)
            .map(|_| stdin(32_768))
            .chain([stdin(32_768), stdin(32_768), stdin(32_768)])
            .collect(),
    ];
    for bodies in floods {
        let mut agent = Agent::start();
        let (channel, pid) = agent.begin(sh("sleep 1000; :"));
        for body in bodies {
            // It may have hung up already.
            let _ = agent.try_send(channel, body);
        }
        while agent.next_frame().is_some() {}
        eventually(|| !lives(pid));
    }
}

#[test]
fn frames_for_a_channel_that_is_over_are_late_and_not_wrong() {
    let mut agent = Agent::start();
    let (channel, _) = agent.begin(sh("exit 0"));
    agent.finish(channel);
    for body in [Body::Close, Body::Eof(Stream::Stdin), Body::Credit(Stream::Stdout, 5)] {
        agent.send(channel, body);
    }
    assert_eq!(agent.run(sh("exit 7")).status, ExitStatus::Code(7));
}

#[test]
fn a_machine_that_is_not_its_own_is_left_alone() {
    let mut agent = Agent::start();
    for request in [Request::Shutdown, Request::SetClock { unix_ns: 1 }, Request::Configure(Default::default())] {
        assert!(matches!(agent.refusal(request), Refusal::Failed { .. }));
    }
}
