//! The session against a scripted peer over a socket pair, with the real codec and real pipes.

use super::*;
use banger_model::wire::guest::{Refusal, TtySize};
use bytes::Bytes;
use rustix::fd::{AsFd, OwnedFd};
use std::{
    fs::File,
    io::{Read, Write},
    time::Duration,
};
use tokio::net::UnixStream;

/// The daemon's end.
struct Peer {
    stream: UnixStream,
    decoder: Decoder,
}

impl Peer {
    async fn send(&mut self, body: Body) {
        let bytes = Frame { channel: EXEC_CHANNEL, body }.to_bytes().unwrap();
        self.stream.write_all(&bytes).await.unwrap();
    }

    /// The next frame, or none once the client has gone.
    async fn next(&mut self) -> Option<Body> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                assert_eq!(frame.channel, EXEC_CHANNEL);
                return Some(frame.body);
            }
            match self.stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(n) => self.decoder.feed(&buffer[..n]),
            }
        }
    }

    async fn started(&mut self) {
        self.send(Body::Accept(Box::new(Reply::Started { pid: 7 }))).await;
    }
}

/// Our ends of everything that a user would hold.
struct User {
    stdin: Option<File>,
    stdout: File,
    stderr: File,
    signals: mpsc::UnboundedSender<Event>,
}

fn leaked(fd: OwnedFd) -> rustix::fd::BorrowedFd<'static> {
    let fd: &'static OwnedFd = Box::leak(Box::new(fd));
    fd.as_fd()
}

fn ends(json: bool) -> (Ends, User) {
    let pipe = || rustix::pipe::pipe().unwrap();
    let ((stdin, to_stdin), (stdout, out), (stderr, err)) = (pipe(), pipe(), pipe());
    let (signals, receiver) = mpsc::unbounded_channel();
    let outputs = if json { Outputs::json(leaked(out)) } else { Outputs::raw(leaked(out), leaked(err)) };
    let ends = Ends { input: Input::spawn(stdin).unwrap(), outputs, signals: receiver.into() };
    (ends, User { stdin: Some(to_stdin.into()), stdout: stdout.into(), stderr: stderr.into(), signals })
}

/// Runs a session, bounded, beside what the peer does.
async fn against<T>(ends: Ends, script: impl AsyncFnOnce(&mut Peer) -> T) -> (Result<ExitStatus, ExecError>, T) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut peer = Peer { stream: theirs, decoder: Decoder::default() };
    let both = async { tokio::join!(run(ours, &[], ends), script(&mut peer)) };
    tokio::time::timeout(Duration::from_secs(20), both).await.expect("neither side waits for ever")
}

fn read_some(file: &mut File, length: usize) -> String {
    let mut bytes = vec![0; length];
    file.read_exact(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn the_streams_are_apart_and_the_status_is_exact() {
    let (ends, mut user) = ends(false);
    user.stdin.take().unwrap().write_all(b"in").unwrap();
    let (status, seen) = against(ends, async |peer| {
        peer.started().await;
        peer.send(Body::Data(Stream::Stdout, Bytes::from_static(b"out"))).await;
        peer.send(Body::Data(Stream::Stderr, Bytes::from_static(b"err"))).await;
        let seen = [peer.next().await, peer.next().await];
        peer.send(Body::Exit(ExitStatus::Signal(9))).await;
        seen
    })
    .await;
    assert_eq!(status.unwrap().shell_code(), 137);
    assert_eq!(seen, [Some(Body::Data(Stream::Stdin, Bytes::from_static(b"in"))), Some(Body::Eof(Stream::Stdin))]);
    assert_eq!(read_some(&mut user.stdout, 3), "out");
    assert_eq!(read_some(&mut user.stderr, 3), "err");
}

#[tokio::test]
async fn a_reader_that_stops_stops_the_command() {
    let window = usize::try_from(INITIAL_WINDOW).unwrap();
    let (ends, mut user) = ends(false);
    let (status, ()) = against(ends, async |peer| {
        peer.started().await;
        for _ in 0..window / 1024 {
            peer.send(Body::Data(Stream::Stdout, Bytes::from(vec![b'x'; 1024]))).await;
        }
        // A pipe holds 64 KiB: what went into it comes back as credit, no more.
        let held = u32::try_from(window - 64 * 1024 - 1024).unwrap();
        let mut credit = 0;
        while let Ok(Some(Body::Credit(Stream::Stdout, n))) =
            tokio::time::timeout(Duration::from_millis(100), peer.next()).await
        {
            credit += n;
        }
        assert!(credit <= INITIAL_WINDOW - held, "{credit}");
        let reader = std::thread::spawn(move || read_some(&mut user.stdout, window).len());
        while credit < INITIAL_WINDOW {
            if let Some(Body::Credit(Stream::Stdout, n)) = peer.next().await {
                credit += n;
            }
        }
        assert_eq!(reader.join().unwrap(), window);
        peer.send(Body::Exit(ExitStatus::Code(0))).await;
    })
    .await;
    assert_eq!(status.unwrap(), ExitStatus::Code(0));
}

#[tokio::test]
async fn stdin_waits_for_the_commands_credit() {
    let window = usize::try_from(INITIAL_WINDOW).unwrap();
    let (ends, mut user) = ends(false);
    let mut stdin = user.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&vec![b'x'; 3 * window]));
    let (status, total) = against(ends, async |peer| {
        peer.started().await;
        let (mut total, mut granted) = (0, window);
        loop {
            match peer.next().await {
                Some(Body::Data(Stream::Stdin, bytes)) => total += bytes.len(),
                Some(Body::Eof(Stream::Stdin)) => break,
                other => panic!("{other:?}"),
            }
            assert!(total <= granted, "{total} bytes came with room for {granted}");
            if total == granted {
                peer.send(Body::Credit(Stream::Stdin, 50_000)).await;
                granted += 50_000;
            }
        }
        peer.send(Body::Exit(ExitStatus::Code(0))).await;
        total
    })
    .await;
    writer.join().unwrap().unwrap();
    assert_eq!((status.unwrap(), total), (ExitStatus::Code(0), 3 * window));
}

#[tokio::test]
async fn a_closed_stdout_ends_the_session_and_with_it_the_command() {
    let (ends, user) = ends(false);
    drop(user.stdout);
    let (status, gone) = against(ends, async |peer| {
        peer.started().await;
        peer.send(Body::Data(Stream::Stdout, Bytes::from_static(b"y\n"))).await;
        while peer.next().await.is_some() {}
        true
    })
    .await;
    assert!(matches!(status, Err(ExecError::OutputClosed)), "{status:?}");
    assert!(gone);
}

#[tokio::test]
async fn signals_reach_the_command_and_a_second_interrupt_without_an_answer_leaves() {
    let (ends, user) = ends(false);
    let signals = user.signals.clone();
    let (status, ()) = against(ends, async |peer| {
        peer.started().await;
        let size = TtySize { rows: 3, cols: 4 };
        for event in [Event::Resize(size), Event::Forward(15), Event::Forward(SIGINT)] {
            if event == Event::Forward(SIGINT) {
                // Something that came after the first signal: it was heard.
                peer.send(Body::Data(Stream::Stdout, Bytes::from_static(b"x"))).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            signals.send(event).unwrap();
            let expected = match event {
                Event::Forward(n) => Control::Signal(Signal(n)),
                Event::Resize(size) => Control::Resize(size),
                Event::Leave(_) => unreachable!(),
            };
            assert_eq!(peer.next().await, Some(Body::Control(expected)));
        }
        signals.send(Event::Forward(SIGINT)).unwrap();
        assert_eq!(peer.next().await, None, "it should be gone");
    })
    .await;
    assert!(matches!(status, Err(ExecError::Left(SIGINT))), "{status:?}");
}

#[tokio::test]
async fn what_is_not_the_protocol_is_an_error() {
    let strange = [
        Body::Accept(Box::new(Reply::Done)),
        Body::Data(Stream::Stdin, Bytes::new()),
        Body::Credit(Stream::Stdout, 1),
        Body::Close,
    ];
    for body in strange {
        let (ends, _user) = ends(false);
        let (status, ()) = against(ends, async |peer| peer.send(body).await).await;
        assert!(matches!(status, Err(ExecError::Peer(_))), "{status:?}");
    }
}

#[tokio::test]
async fn a_refusal_is_told_as_it_is() {
    let (ends, _user) = ends(false);
    let refusal = Refusal::NotFound { program: "x".into() };
    let (status, ()) = against(ends, async |peer| peer.send(Body::Refuse(refusal.clone())).await).await;
    assert!(matches!(status, Err(ExecError::Refused(told)) if told == refusal));
}

#[tokio::test]
async fn more_output_than_allowed_and_a_lost_connection_are_errors() {
    let (ends_, _user) = ends(false);
    let (status, ()) = against(ends_, async |peer| {
        // What a pipe holds comes back as credit; the rest is beyond any.
        for _ in 0..16 {
            let bytes = Frame { channel: EXEC_CHANNEL, body: Body::Data(Stream::Stdout, vec![0; 32 * 1024].into()) };
            let _ = peer.stream.write_all(&bytes.to_bytes().unwrap()).await;
        }
    })
    .await;
    assert!(matches!(status, Err(ExecError::Peer(_))), "{status:?}");
    let (ends_, _user) = ends(false);
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    assert!(matches!(run(ours, &[], ends_).await, Err(ExecError::Lost(_))));
}

#[tokio::test]
async fn as_json_the_streams_are_lines_of_one() {
    let (ends, mut user) = ends(true);
    let (status, ()) = against(ends, async |peer| {
        peer.started().await;
        peer.send(Body::Data(Stream::Stdout, Bytes::from_static(b"o\n"))).await;
        peer.send(Body::Data(Stream::Stderr, Bytes::from_static(b"e"))).await;
        peer.send(Body::Exit(ExitStatus::Code(37))).await;
    })
    .await;
    assert_eq!(status.unwrap(), ExitStatus::Code(37));
    let text = "{\"started\":7}\n{\"stdout\":\"bwo=\"}\n{\"stderr\":\"ZQ==\"}\n{\"exit\":{\"code\":37}}\n";
    assert_eq!(read_some(&mut user.stdout, text.len()), text);
}

#[tokio::test]
async fn a_first_signal_is_kept_for_a_command_that_is_not_there_yet_and_a_second_one_leaves() {
    let (sender, receiver) = mpsc::unbounded_channel();
    let mut signals = Signals::from(receiver);
    sender.send(Event::Forward(SIGINT)).unwrap();
    let begun = tokio::task::yield_now();
    select! {
        biased;
        signal = signals.insist() => panic!("left by {signal}"),
        () = begun => {}
    }
    assert_eq!(signals.recv().await, Some(Event::Forward(SIGINT)));

    for (first, second) in [(Event::Forward(SIGINT), Event::Forward(15)), (Event::Forward(SIGINT), Event::Leave(15))] {
        sender.send(first).unwrap();
        sender.send(second).unwrap();
        assert_eq!(signals.insist().await, 15);
        assert_eq!(signals.recv().await, Some(first));
    }
    sender.send(Event::Leave(1)).unwrap();
    assert_eq!(signals.insist().await, 1);
}
