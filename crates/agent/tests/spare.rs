//! The process that waits for the next command.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use banger_model::wire::guest::{Exec, ExitStatus};
use banger_model::wire::{Body, Stream};
use rustix::process::{Pid, Signal, kill_process};
use support::{Agent, eventually, exec, lives, sh};

/// The one child of an agent that does nothing else.
fn spare(agent: &Agent) -> u32 {
    eventually(|| agent.children().len() == 1);
    agent.children()[0]
}

#[test]
fn a_command_takes_it_and_starts_clean_and_another_takes_its_place() {
    let mut agent = Agent::start();
    let waiting = spare(&agent);
    let (channel, pid) = agent.begin(sh("ls /proc/self/fd | wc -l; readlink /proc/self/fd/0 | cut -d: -f1; exec cat"));
    assert_eq!(pid, waiting);
    agent.write(channel, "in");
    agent.send(channel, Body::Eof(Stream::Stdin));
    // Three streams and the folder that `ls` reads.
    assert_eq!(agent.finish(channel).text(), "4\npipe\nin");
    let next = spare(&agent);
    assert_ne!(next, waiting);
    let (channel, pid) = agent.begin(Exec { no_stdin: true, ..sh("readlink /proc/self/fd/0; exit 3") });
    assert_eq!(pid, next);
    let outcome = agent.finish(channel);
    assert_eq!((outcome.text(), outcome.status), ("/dev/null\n", ExitStatus::Code(3)));
}

#[test]
fn one_that_died_is_not_missed() {
    let mut agent = Agent::start();
    let waiting = spare(&agent);
    kill_process(Pid::from_raw(waiting.cast_signed()).unwrap(), Signal::KILL).unwrap();
    eventually(|| !agent.children().contains(&waiting));
    assert_eq!(agent.run(sh("echo out")).text(), "out\n");
    assert_ne!(spare(&agent), waiting);
}

#[test]
fn it_holds_nothing_of_another_command_open() {
    let mut agent = Agent::start();
    let (channel, pid) = agent.begin(sh("exec cat"));
    // It is there while the command runs, forked when the command's pipes were open.
    eventually(|| agent.children().iter().any(|child| *child != pid));
    agent.write(channel, "in");
    agent.send(channel, Body::Eof(Stream::Stdin));
    assert_eq!(agent.finish(channel).text(), "in");
}

#[test]
fn a_command_that_is_too_long_to_be_told_is_launched_as_ever() {
    let mut agent = Agent::start();
    let waiting = spare(&agent);
    let (channel, pid) = agent.begin(exec(&["/bin/echo", &"x".repeat(61 * 1024)]));
    assert_ne!(pid, waiting);
    agent.send(channel, Body::Eof(Stream::Stdin));
    assert_eq!(agent.finish(channel).stdout.len(), 61 * 1024 + 1);
}

#[test]
fn it_ends_with_the_agent() {
    let agent = Agent::start();
    let waiting = spare(&agent);
    agent.hang_up();
    eventually(|| !lives(waiting));
}
