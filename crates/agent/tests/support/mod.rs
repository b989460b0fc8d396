//! The agent's service in a process of its own, and a host's end of one session with it.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use banger_model::wire::guest::{Exec, ExitStatus, Refusal, Reply, Request};
use banger_model::wire::hello::{Greeting, Hunt, VERSION};
use banger_model::wire::{Body, Decoder, Frame, Stream};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long anything may take.
pub const BOUND: Duration = Duration::from_secs(60);

/// A session.
pub struct Agent {
    process: Child,
    stream: UnixStream,
    decoder: Decoder,
    last_channel: u32,
    waiting: BTreeMap<u32, VecDeque<Body>>,
}

/// How a command went.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Outcome {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("text")
    }
}

/// `argv` with nothing special about it, run by the user of the test: an agent that is not root has no other.
pub fn exec(argv: &[&str]) -> Exec {
    let user = rustix::process::geteuid().as_raw().to_string();
    Exec { argv: argv.iter().map(ToString::to_string).collect(), user, ..Exec::default() }
}

/// A line for the shell.
pub fn sh(line: &str) -> Exec {
    exec(&["/bin/sh", "-c", line])
}

impl Agent {
    pub fn start() -> Self {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        let process = Command::new(env!("CARGO_BIN_EXE_banger-agent"))
            .arg("session")
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .expect("the agent starts");
        ours.set_read_timeout(Some(BOUND)).expect("a bound");
        ours.set_write_timeout(Some(BOUND)).expect("a bound");
        let mut agent =
            Self { process, stream: ours, decoder: Decoder::default(), last_channel: 0, waiting: BTreeMap::new() };
        agent.greet([7; 16]);
        agent
    }

    /// Begins a session anew.
    pub fn greet(&mut self, nonce: [u8; 16]) {
        let greeting = Greeting { version: VERSION, nonce };
        self.stream.write_all(&greeting.to_guest()).expect("the agent reads");
        let mut hunt = Hunt::for_guest();
        let mut buffer = [0; 4096];
        loop {
            let n = self.stream.read(&mut buffer).expect("the agent answers");
            assert_ne!(n, 0, "the agent went away");
            let mut found = hunt.feed(&buffer[..n]);
            while let Some((answer, rest)) = found {
                if answer == greeting {
                    self.decoder = Decoder::default();
                    self.decoder.feed(&rest);
                    self.waiting.clear();
                    return;
                }
                found = hunt.feed(&rest);
            }
        }
    }

    pub fn send(&mut self, channel: u32, body: Body) {
        self.try_send(channel, body).expect("the agent reads");
    }

    pub fn try_send(&mut self, channel: u32, body: Body) -> std::io::Result<()> {
        let frame = Frame { channel, body }.to_bytes().expect("it fits");
        self.stream.write_all(&frame)
    }

    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the agent reads");
    }

    pub fn open(&mut self, request: Request) -> u32 {
        self.last_channel += 1;
        self.send(self.last_channel, Body::Open(Box::new(request)));
        self.last_channel
    }

    /// The next frame of a channel.
    pub fn next(&mut self, channel: u32) -> Body {
        loop {
            if let Some(body) = self.waiting.get_mut(&channel).and_then(VecDeque::pop_front) {
                return body;
            }
            let Frame { channel, body } = self.next_frame().expect("the agent went away");
            self.waiting.entry(channel).or_default().push_back(body);
        }
    }

    /// Has `body` come again as the next of its channel.
    pub fn put_back(&mut self, channel: u32, body: Body) {
        self.waiting.entry(channel).or_default().push_front(body);
    }

    /// The next frame of any channel; none at the session's end.
    pub fn next_frame(&mut self) -> Option<Frame> {
        let mut buffer = [0; 64 * 1024];
        loop {
            if let Some(frame) = self.decoder.next_frame().expect("frames") {
                return Some(frame);
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(n) => self.decoder.feed(&buffer[..n]),
                // It hung up with bytes of ours unread.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("the agent says nothing: {error}"),
            }
        }
    }

    /// Begins a command that is expected to start. Returns its channel and process.
    pub fn begin(&mut self, exec: Exec) -> (u32, u32) {
        let channel = self.open(Request::Exec(exec));
        match self.next(channel) {
            Body::Accept(reply) => match *reply {
                Reply::Started { pid } => (channel, pid),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    /// Why a request is not begun.
    pub fn refusal(&mut self, request: Request) -> Refusal {
        let channel = self.open(request);
        match self.next(channel) {
            Body::Refuse(refusal) => refusal,
            other => panic!("{other:?}"),
        }
    }

    /// Runs a command with nothing on its stdin.
    pub fn run(&mut self, exec: Exec) -> Outcome {
        let (channel, _) = self.begin(exec);
        self.send(channel, Body::Eof(Stream::Stdin));
        self.finish(channel)
    }

    /// Takes all that a channel still brings.
    pub fn finish(&mut self, channel: u32) -> Outcome {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        loop {
            match self.next(channel) {
                Body::Data(stream, bytes) => {
                    match stream {
                        Stream::Stdout => stdout.extend_from_slice(&bytes),
                        Stream::Stderr => stderr.extend_from_slice(&bytes),
                        Stream::Stdin => panic!("stdin from the guest"),
                    }
                    let room = u32::try_from(bytes.len()).expect("a frame is small");
                    self.send(channel, Body::Credit(stream, room));
                }
                Body::Eof(_) | Body::Credit(..) => {}
                Body::Exit(status) => return Outcome { status, stdout, stderr },
                other => panic!("{other:?}"),
            }
        }
    }

    /// Reads a channel until its stdout holds `wanted`. Returns what came.
    pub fn read_until(&mut self, channel: u32, wanted: &str) -> String {
        let mut seen = String::new();
        while !seen.contains(wanted) {
            match self.next(channel) {
                Body::Data(stream, bytes) => {
                    seen.push_str(&String::from_utf8_lossy(&bytes));
                    let room = u32::try_from(bytes.len()).expect("a frame is small");
                    self.send(channel, Body::Credit(stream, room));
                }
                Body::Eof(_) | Body::Credit(..) => {}
                other => panic!("{other:?} after {seen:?}"),
            }
        }
        seen
    }

    pub fn write(&mut self, channel: u32, text: &str) {
        self.send(channel, Body::Data(Stream::Stdin, Bytes::copy_from_slice(text.as_bytes())));
    }

    /// The agent's child processes, zombies among them.
    pub fn children(&self) -> Vec<u32> {
        let pid = self.process.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("it runs");
        children.split_whitespace().map(|pid| pid.parse().expect("a number")).collect()
    }

    /// Bytes of memory that the agent has at most had.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// Ends the session and waits for the agent's end.
    pub fn hang_up(mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        assert!(self.process.wait().expect("it ends").success());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        let _ = self.process.wait();
    }
}

/// Whether a process is there and not a zombie.
pub fn lives(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z')))
}

/// Waits until `what` holds; it must within the bound.
pub fn eventually(what: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !what() {
        assert!(start.elapsed() < BOUND, "it never came to that");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Says on stderr that a test does not run, when this is not root.
#[expect(clippy::print_stderr, reason = "a test that does not run says so")]
pub fn skipped_without_root(name: &str) -> bool {
    let skipped = !rustix::process::geteuid().is_root();
    if skipped {
        eprintln!("SKIPPED: {name}: it needs root");
    }
    skipped
}
