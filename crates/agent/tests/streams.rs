//! Bytes through commands: whole, in bounded memory, at the reader's pace.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::cast_possible_truncation)]

mod support;

use banger_model::wire::frame::{INITIAL_WINDOW, MAX_DATA};
use banger_model::wire::guest::ExitStatus;
use banger_model::wire::{Body, Stream};
use bytes::Bytes;
use support::{Agent, exec, sh};

/// What goes through, in bytes. A gibibyte takes an unoptimised agent too long for every run; nothing depends on the size.
const AMOUNT: u64 = 128 * 1024 * 1024;

fn pattern(at: u64, length: usize) -> Bytes {
    (at..at + length as u64).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect::<Vec<u8>>().into()
}

#[test]
fn what_goes_in_comes_out_in_bounded_memory() {
    let mut agent = Agent::start();
    let (channel, _) = agent.begin(exec(&["cat"]));
    let before = agent.peak_memory();
    let (mut sent, mut came, mut credit) = (0, 0, u64::from(INITIAL_WINDOW));
    let piece = pattern(0, 1 << 20);
    let at = |position: u64, length: usize| {
        let start = (position % (1 << 20)) as usize;
        piece.slice(start..(start + length).min(piece.len()))
    };
    let status = loop {
        while sent < AMOUNT && credit > 0 {
            let data = at(sent, MAX_DATA.min(credit as usize).min((AMOUNT - sent) as usize));
            sent += data.len() as u64;
            credit -= data.len() as u64;
            agent.send(channel, Body::Data(Stream::Stdin, data));
            if sent == AMOUNT {
                agent.send(channel, Body::Eof(Stream::Stdin));
            }
        }
        match agent.next(channel) {
            Body::Credit(Stream::Stdin, bytes) => credit += u64::from(bytes),
            Body::Data(Stream::Stdout, data) => {
                let mut rest = data.as_ref();
                while !rest.is_empty() {
                    let wanted = at(came, rest.len());
                    assert!(rest[..wanted.len()] == wanted, "other bytes at {came}");
                    came += wanted.len() as u64;
                    rest = &rest[wanted.len()..];
                }
                agent.send(channel, Body::Credit(Stream::Stdout, u32::try_from(data.len()).unwrap()));
            }
            Body::Eof(_) => {}
            Body::Exit(status) => break status,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((status, came), (ExitStatus::Code(0), AMOUNT));
    let grown = agent.peak_memory() - before;
    assert!(grown < 4 * 1024 * 1024, "the agent grew by {grown} bytes");
}

#[test]
fn no_more_comes_than_was_granted() {
    let mut agent = Agent::start();
    let (channel, _) = agent.begin(sh("yes"));
    let (other, _) = agent.begin(sh("read x; echo $x"));
    let mut came = 0;
    while came < INITIAL_WINDOW as usize {
        match agent.next(channel) {
            Body::Data(Stream::Stdout, data) => came += data.len(),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(came, INITIAL_WINDOW as usize);
    // Others go on meanwhile, and what comes now is what is granted now.
    agent.write(other, "through\n");
    assert_eq!(agent.finish(other).text(), "through\n");
    agent.send(channel, Body::Credit(Stream::Stdout, 10));
    assert!(matches!(agent.next(channel), Body::Data(Stream::Stdout, data) if data.len() == 10));
    agent.send(channel, Body::Close);
    assert_eq!(agent.finish(channel).status, ExitStatus::Signal(9));
}

#[test]
fn what_a_command_does_not_read_is_taken_once_it_is_gone() {
    let mut agent = Agent::start();
    let (channel, _) = agent.begin(sh("exec <&-; echo closed; sleep 0.1; exit 6"));
    agent.read_until(channel, "closed\n");
    for _ in 0..INITIAL_WINDOW as usize / MAX_DATA {
        agent.send(channel, Body::Data(Stream::Stdin, pattern(0, MAX_DATA)));
    }
    agent.send(channel, Body::Eof(Stream::Stdin));
    assert_eq!(agent.finish(channel).status, ExitStatus::Code(6));
}

#[test]
fn stderr_without_a_reader_does_not_hold_up_stdout() {
    let mut agent = Agent::start();
    let (channel, _) = agent.begin(sh("yes >&2 & for i in 1 2 3; do echo $i; done; sleep 0.1; kill -9 $!; exit 0"));
    let mut stdout = Vec::new();
    while stdout != b"1\n2\n3\n" {
        match agent.next(channel) {
            Body::Data(Stream::Stdout, data) => stdout.extend_from_slice(&data),
            Body::Data(Stream::Stderr, _) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(agent.finish(channel).status, ExitStatus::Code(0));
}
