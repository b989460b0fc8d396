//! Much data through a command, unharmed and in bounded memory.

use crate::shared::{sandbox, vm};
use banger_e2e::surroundings::stream_mib as length;
use std::{
    io::{Read, Write},
    process::{Child, Stdio},
};

/// The largest that a program in between may become: half of what passes through it at the least.
const MOST_MEMORY_KIB: u64 = 48 << 10;
const CHUNK: usize = 1 << 20;

/// Bytes that do not repeat before their end: a missing, doubled or moved piece shows.
struct Noise(u64);

impl Noise {
    fn fill(&mut self, buffer: &mut [u8]) {
        for eight in buffer.chunks_exact_mut(8) {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            eight.copy_from_slice(&(self.0 ^ (self.0 >> 29)).to_le_bytes());
        }
    }
}

fn feed(mut to: impl Write, mut noise: Noise) {
    let mut buffer = vec![0; CHUNK];
    for _ in 0..length() {
        noise.fill(&mut buffer);
        to.write_all(&buffer).expect("the command's input closed early");
    }
}

/// Gives what `look` sees while the last piece has not been read.
fn check<T>(mut from: impl Read, mut noise: Noise, look: impl Fn() -> T) -> T {
    let (mut expected, mut got) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut seen = None;
    for chunk in 0..length() {
        seen = (chunk + 1 == length()).then(&look);
        noise.fill(&mut expected);
        from.read_exact(&mut got).unwrap_or_else(|error| panic!("the output ended in MiB {chunk}: {error}"));
        assert!(expected == got, "MiB {chunk} was changed on its way");
    }
    assert_eq!(from.read(&mut got).unwrap(), 0, "there is more than was sent");
    seen.unwrap()
}

/// The most memory that a process ever had, in KiB.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn spawn(words: &str) -> Child {
    let mut command = vm().exec(words).into_command();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap()
}

#[test]
fn a_long_stream_goes_through_stdin_and_stdout_unharmed_and_in_bounded_memory() {
    let mut child = spawn("cat");
    let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let feeder = std::thread::spawn(move || feed(stdin, Noise(7)));
    let client = check(stdout, Noise(7), || peak(child.id()));
    feeder.join().unwrap();
    assert!(child.wait().unwrap().success());
    let daemon = peak(sandbox().daemon_pid());
    assert!(client < MOST_MEMORY_KIB && daemon < MOST_MEMORY_KIB, "client {client} KiB, daemon {daemon} KiB");
}

#[test]
fn a_reader_that_stops_reading_holds_up_nobody_else() {
    let mut stuck = spawn("cat /dev/zero");
    // Nobody reads it: the stream fills up and stands still.
    vm().exec("true").run().ok();
    assert_eq!(vm().exec("wc -c").stdin(vec![b'x'; 4 << 20]).run().ok().trim(), (4 << 20).to_string());
    let mut first = [0; 4096];
    stuck.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(first, [0; 4096]);
    stuck.kill().unwrap();
    stuck.wait().unwrap();
}

#[test]
fn a_reader_that_goes_away_ends_the_command() {
    let mut child = spawn("yes");
    let mut stdout = child.stdout.take().unwrap();
    let mut first = [0; 4];
    stdout.read_exact(&mut first).unwrap();
    drop(stdout);
    let status = banger_e2e::wait_for("the client's end", || child.try_wait().unwrap());
    assert!(!status.success(), "{status}");
    vm().wait_for_end_of("yes");
}
