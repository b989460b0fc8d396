//! An agent that follows a script, so that what it does at every byte is known. It keeps to the protocol, but for the
//! requests that say otherwise.

use banger_model::wire::{
    Body, Decoder, Frame, Stream,
    frame::INITIAL_WINDOW,
    guest::{ExitStatus, Refusal, Reply, Request},
    hello::Hunt,
};
use bytes::{Buf, Bytes, BytesMut};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::Notify,
};

/// What tests learn of all agents of a world.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// All of stdin of channels that have ended.
    pub(super) stdin: Mutex<Vec<u8>>,
    /// Bytes sent as data.
    pub(super) sent: Mutex<u64>,
    /// Requests that were taken.
    pub(super) begun: AtomicUsize,
    /// Told when the host closes a channel, or the session with one open.
    pub(super) closed: Notify,
}

/// A command or copy.
struct Task {
    script: Vec<String>,
    out: BytesMut,
    /// Bytes of zeros that are still to be sent.
    zeros: u64,
    window: u32,
    eof: bool,
    stdin: Vec<u8>,
}

/// Serves one session.
pub(super) async fn serve(mut stream: UnixStream, seen: Arc<Seen>) {
    let mut hunt = Hunt::for_host();
    let mut buffer = vec![0; 64 * 1024];
    let mut decoder = Decoder::default();
    loop {
        let n = stream.read(&mut buffer).await.unwrap_or(0);
        if n == 0 {
            return;
        }
        if let Some((greeting, rest)) = hunt.feed(&buffer[..n]) {
            stream.write_all(&greeting.to_host()).await.unwrap();
            decoder.feed(&rest);
            break;
        }
    }
    let mut tasks: HashMap<u32, Task> = HashMap::new();
    loop {
        let mut answers = Vec::new();
        while let Some(frame) = decoder.next_frame().unwrap() {
            take(frame, &mut tasks, &seen, &mut answers);
        }
        tasks.retain(|channel, task| task.go_on(*channel, &seen, &mut answers));
        let mut bytes = BytesMut::new();
        answers.iter().for_each(|frame| frame.encode(&mut bytes).unwrap());
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => {
                // With the session goes whatever ran on it.
                tasks.values().for_each(|_| seen.closed.notify_one());
                return;
            }
            Ok(n) => decoder.feed(&buffer[..n]),
        }
    }
}

fn take(frame: Frame, tasks: &mut HashMap<u32, Task>, seen: &Seen, answers: &mut Vec<Frame>) {
    let channel = frame.channel;
    let mut answer = |body| answers.push(Frame { channel, body });
    match frame.body {
        Body::Open(request) => match script(*request) {
            Ok((script, reply)) => {
                answer(Body::Accept(Box::new(reply)));
                seen.begun.fetch_add(1, Ordering::Relaxed);
                tasks.insert(channel, Task::new(script));
            }
            Err(refusal) => answer(Body::Refuse(refusal)),
        },
        Body::Close => {
            if tasks.remove(&channel).is_some() {
                answer(Body::Exit(ExitStatus::Signal(9)));
                seen.closed.notify_one();
            }
        }
        body => {
            let Some(task) = tasks.get_mut(&channel) else { return };
            match body {
                Body::Data(Stream::Stdin, data) => {
                    task.stdin.extend_from_slice(&data);
                    if task.script[0] == "cat" {
                        task.out.extend_from_slice(&data);
                    }
                    if task.script[0] != "hang" {
                        answer(Body::Credit(Stream::Stdin, u32::try_from(data.len()).unwrap()));
                    }
                }
                Body::Eof(Stream::Stdin) => task.eof = true,
                Body::Credit(Stream::Stdout, bytes) => task.window += bytes,
                _ => {}
            }
        }
    }
}

fn script(request: Request) -> Result<(Vec<String>, Reply), Refusal> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    match request {
        Request::Exec(exec) => match exec.argv.first().map_or("", String::as_str) {
            "env" => Ok((vec!["say".into(), serde_json::to_string(&exec).unwrap()], Reply::Started { pid: 7 })),
            "cat" | "exit" | "zeros" | "hang" | "flood" | "garbage" => Ok((exec.argv, Reply::Started { pid: 7 })),
            program => Err(Refusal::NotFound { program: program.into() }),
        },
        Request::CopyOut { path } => match path.as_str() {
            "/gone" => Err(Refusal::Path { path, reason: "No such file or directory".into() }),
            "/early" => Ok((words(&["complain", "cannot even begin"]), Reply::Done)),
            "/stuck" => Ok((words(&["hang"]), Reply::Done)),
            "/short" => Ok((words(&["half"]), Reply::Done)),
            path => Ok((words(&["say", &format!("the tar of {path}")]), Reply::Done)),
        },
        Request::CopyIn(copy) => match copy.path.as_str() {
            "/full" => Ok((words(&["complain", "No space left on device"]), Reply::Done)),
            "/stuck" => Ok((words(&["hang"]), Reply::Done)),
            _ => Ok((words(&["swallow"]), Reply::Done)),
        },
        _ => Err(Refusal::Failed { what: "this agent".into(), reason: "is only a test".into() }),
    }
}

impl Task {
    fn new(script: Vec<String>) -> Self {
        let zeros = if script[0] == "zeros" { script[1].parse().unwrap() } else { 0 };
        let out = if script[0] == "say" { BytesMut::from(script[1].as_bytes()) } else { BytesMut::new() };
        Self { script, out, zeros, window: INITIAL_WINDOW, eof: false, stdin: Vec::new() }
    }

    /// Sends what it may; false once it has ended.
    fn go_on(&mut self, channel: u32, seen: &Seen, answers: &mut Vec<Frame>) -> bool {
        let mut answer = |body| answers.push(Frame { channel, body });
        let stdout = |bytes: Bytes| Body::Data(Stream::Stdout, bytes);
        match self.script[0].as_str() {
            "complain" => {
                answer(Body::Data(Stream::Stderr, Bytes::from(format!("{}\n", self.script[1]))));
                answer(Body::Exit(ExitStatus::Code(1)));
                return false;
            }
            "half" => {
                answer(stdout(Bytes::from_static(&[1; 1000])));
                answer(Body::Exit(ExitStatus::Code(1)));
                return false;
            }
            "exit" => {
                answer(Body::Data(Stream::Stderr, Bytes::from_static(b"bye")));
                answer(Body::Exit(ExitStatus::Code(self.script[1].parse().unwrap())));
                return false;
            }
            "flood" => {
                (0..=INITIAL_WINDOW / 1024).for_each(|_| answer(stdout(Bytes::from_static(&[0; 1024]))));
                return false;
            }
            "garbage" => {
                answer(Body::Data(Stream::Stdin, Bytes::from_static(b"x")));
                return false;
            }
            _ => {}
        }
        while self.window > 0 && (self.zeros > 0 || !self.out.is_empty()) {
            let room = self.window.min(32 * 1024) as usize;
            let piece = match usize::try_from(self.zeros.min(room as u64)).unwrap() {
                0 => self.out.copy_to_bytes(room.min(self.out.len())),
                zeros => Bytes::from(vec![0; zeros]),
            };
            self.zeros = self.zeros.saturating_sub(piece.len() as u64);
            self.window -= u32::try_from(piece.len()).unwrap();
            *seen.sent.lock().unwrap() += piece.len() as u64;
            answer(stdout(piece));
        }
        let waits = matches!(self.script[0].as_str(), "cat" | "swallow" | "hang") && !self.eof;
        if waits || self.script[0] == "hang" || self.zeros > 0 || !self.out.is_empty() {
            return true;
        }
        seen.stdin.lock().unwrap().append(&mut self.stdin);
        answer(Body::Eof(Stream::Stdout));
        answer(Body::Exit(ExitStatus::Code(0)));
        false
    }
}
