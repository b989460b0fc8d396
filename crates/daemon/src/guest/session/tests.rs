//! A session against a peer that does what each test wants, and against the real agent.

use super::*;
use crate::guest::Incoming;
use banger_model::wire::{
    Stream,
    frame::INITIAL_WINDOW,
    guest::{Exec, ExitStatus},
    hello::GREETING_LEN,
};
use std::{os::fd::OwnedFd, process::Stdio};

/// Longest that anything may take here.
const BOUND: Duration = Duration::from_secs(20);

/// The guest's end of a session.
struct Peer {
    stream: UnixStream,
    decoder: Decoder,
}

/// A session that has been greeted.
async fn session() -> (Session, Peer) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let greet = async {
        let mut bytes = [0; GREETING_LEN];
        theirs.read_exact(&mut bytes).await.unwrap();
        let (greeting, _) = Hunt::for_host().feed(&bytes).unwrap();
        // Noise of an earlier session, an answer to somebody else, then ours.
        theirs.write_all(b"noise").await.unwrap();
        theirs.write_all(&Greeting { nonce: [0; 16], ..greeting }.to_host()).await.unwrap();
        theirs.write_all(&greeting.to_host()).await.unwrap();
    };
    let (session, ()) = tokio::join!(Session::open(ours), greet);
    (session.unwrap(), Peer { stream: theirs, decoder: Decoder::default() })
}

impl Peer {
    /// The next frame; nothing at the end.
    async fn next(&mut self) -> Option<Frame> {
        let next = async {
            let mut buffer = [0; 4096];
            loop {
                if let Some(frame) = self.decoder.next_frame().unwrap() {
                    return Some(frame);
                }
                match self.stream.read(&mut buffer).await {
                    Ok(0) | Err(_) => return None,
                    Ok(n) => self.decoder.feed(&buffer[..n]),
                }
            }
        };
        timeout(BOUND, next).await.expect("no frame")
    }

    async fn send(&mut self, channel: u32, body: Body) {
        self.stream.write_all(&Frame { channel, body }.to_bytes().unwrap()).await.unwrap();
    }

    /// Takes the next request as a command.
    async fn accept(&mut self) -> u32 {
        let frame = self.next().await.unwrap();
        assert!(matches!(frame.body, Body::Open(_)), "{frame:?}");
        self.send(frame.channel, Body::Accept(Box::new(Reply::Started { pid: 1 }))).await;
        frame.channel
    }
}

/// Run by the user of the test: a real agent that is not root has no other.
fn exec(argv: &[&str]) -> Request {
    let user = rustix::process::geteuid().as_raw().to_string();
    Request::Exec(Exec { argv: argv.iter().map(|word| (*word).to_owned()).collect(), user, ..Exec::default() })
}

async fn next(channel: &Channel) -> Incoming {
    timeout(BOUND, channel.next()).await.expect("nothing comes")
}

async fn ended(session: &Session) {
    timeout(BOUND, session.closed()).await.expect("the session goes on");
}

#[tokio::test]
async fn whoever_breaks_the_protocol_loses_the_session() {
    let bytes = |frame: Frame| frame.to_bytes().unwrap();
    let cases: [fn(u32) -> Frame; 3] = [
        |channel| Frame { channel, body: Body::Data(Stream::Stdin, Bytes::from_static(b"x")) },
        |channel| Frame { channel, body: Body::Accept(Box::new(Reply::Done)) },
        |channel| Frame { channel, body: Body::Credit(Stream::Stdin, u32::MAX) },
    ];
    let mut offences: Vec<Box<dyn Fn(u32) -> Bytes>> = vec![Box::new(|_| Bytes::from_static(&[0xff; 64]))];
    for case in cases {
        offences.push(Box::new(move |channel| bytes(case(channel))));
    }
    for offence in offences {
        let (session, mut peer) = session().await;
        let (begun, channel) = tokio::join!(session.request(exec(&["x"])), peer.accept());
        let (command, _) = begun.unwrap();
        peer.stream.write_all(&offence(channel)).await.unwrap();
        assert!(matches!(next(&command).await, Incoming::Lost));
        ended(&session).await;
        assert!(matches!(session.request(exec(&["x"])).await, Err(SessionError::Ended)));
    }
}

#[tokio::test]
async fn what_came_before_the_end_is_read_before_it() {
    let (session, mut peer) = session().await;
    let (begun, channel) = tokio::join!(session.request(exec(&["x"])), peer.accept());
    let (command, _) = begun.unwrap();
    peer.send(channel, Body::Data(Stream::Stdout, Bytes::from_static(b"last words"))).await;
    drop(peer);
    ended(&session).await;
    assert!(matches!(next(&command).await, Incoming::Body(Body::Data(Stream::Stdout, data)) if data == "last words"));
    assert!(matches!(next(&command).await, Incoming::Lost));
}

#[tokio::test]
async fn a_channel_that_nobody_reads_holds_up_no_other() {
    let (session, mut peer) = session().await;
    let (begun, lazy) = tokio::join!(session.request(exec(&["lazy"])), peer.accept());
    let (_unread, _) = begun.unwrap();
    let (begun, busy) = tokio::join!(session.request(exec(&["busy"])), peer.accept());
    let (command, _) = begun.unwrap();
    for _ in 0..INITIAL_WINDOW / 1024 {
        peer.send(lazy, Body::Data(Stream::Stdout, Bytes::from_static(&[0; 1024]))).await;
    }
    // A channel that nobody has opened is nobody's.
    peer.send(busy + 7, Body::Data(Stream::Stdout, Bytes::from_static(b"x"))).await;
    peer.send(busy, Body::Exit(ExitStatus::Code(5))).await;
    assert!(matches!(next(&command).await, Incoming::Body(Body::Exit(ExitStatus::Code(5)))));
}

#[tokio::test]
async fn a_dropped_channel_is_closed_and_a_finished_one_is_not() {
    let (session, mut peer) = session().await;
    let (begun, first) = tokio::join!(session.request(exec(&["x"])), peer.accept());
    peer.send(first, Body::Exit(ExitStatus::Code(0))).await;
    let (command, _) = begun.unwrap();
    next(&command).await;
    drop(command);
    let (begun, second) = tokio::join!(session.request(exec(&["y"])), peer.accept());
    drop(begun);
    assert_eq!(peer.next().await, Some(Frame { channel: second, body: Body::Close }));
    // A request that its asker gives up is closed as well.
    let asking = timeout(Duration::from_millis(20), session.request(exec(&["z"]))).await;
    assert!(asking.is_err());
    let third = peer.next().await.unwrap().channel;
    assert_eq!(peer.next().await, Some(Frame { channel: third, body: Body::Close }));
    drop(session);
    assert_eq!(peer.next().await, None, "the last clone takes the stream with it");
}

#[tokio::test]
async fn a_close_gets_through_a_congested_stream() {
    let (session, mut peer) = session().await;
    let (begun, channel) = tokio::join!(session.request(exec(&["x"])), peer.accept());
    let (command, _) = begun.unwrap();
    // Nobody reads at the other end, until nothing more can be queued.
    let stuffing = async {
        loop {
            command
                .send(Body::Control(banger_model::wire::guest::Control::Signal(banger_model::wire::guest::Signal(1))))
                .await
                .unwrap();
        }
    };
    assert!(timeout(Duration::from_millis(300), stuffing).await.is_err());
    drop(command);
    let mut last = None;
    while last != Some(Body::Close) {
        let frame = peer.next().await.expect("the session goes on");
        assert_eq!(frame.channel, channel);
        last = Some(frame.body);
    }
    drop(session);
}

/// Puts frames into the stream for as long as there is room.
async fn stuff(command: &Channel) {
    let signal = banger_model::wire::guest::Control::Signal(banger_model::wire::guest::Signal(1));
    while command.send(Body::Control(signal.clone())).await.is_ok() {}
}

#[tokio::test]
async fn a_guest_that_takes_nothing_is_given_up_and_a_slow_one_is_not() {
    let (session, mut peer) = session().await;
    let (begun, _) = tokio::join!(session.request(exec(&["x"])), peer.accept());
    let (command, _) = begun.unwrap();
    let reads_slowly = async {
        let begin = tokio::time::Instant::now();
        let mut buffer = vec![0; 1 << 16];
        while begin.elapsed() < STALL_BOUND * 3 / 2 {
            assert_ne!(peer.stream.read(&mut buffer).await.unwrap(), 0, "the session goes on");
            tokio::time::sleep(STALL_BOUND / 20).await;
        }
    };
    tokio::select! {
        () = stuff(&command) => panic!("the session has ended"),
        () = reads_slowly => {}
    }
    assert!(!session.stalled());
    // Now it reads no more, though its end of the stream is there.
    timeout(BOUND, stuff(&command)).await.expect("it is never given up");
    ended(&session).await;
    assert!(session.stalled() && matches!(next(&command).await, Incoming::Lost));
    drop(peer);
}

#[tokio::test]
async fn a_request_that_fits_no_frame_fails_alone() {
    let (session, mut peer) = session().await;
    let long = "x".repeat(100_000);
    assert!(matches!(session.request(exec(&[&long])).await, Err(SessionError::Frame(_))));
    let (begun, _) = tokio::join!(session.request(exec(&["x"])), async {
        // The one that failed was given up.
        assert_eq!(peer.next().await.unwrap().body, Body::Close);
        peer.accept().await
    });
    begun.unwrap();
}

#[tokio::test]
async fn a_peer_of_another_version_is_refused() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let greet = async {
        let mut bytes = [0; GREETING_LEN];
        theirs.read_exact(&mut bytes).await.unwrap();
        let (greeting, _) = Hunt::for_host().feed(&bytes).unwrap();
        theirs.write_all(&Greeting { version: 99, ..greeting }.to_host()).await.unwrap();
    };
    let (session, ()) = tokio::join!(Session::open(ours), greet);
    assert!(matches!(session, Err(SessionError::Version(99))));
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    assert!(Session::open(ours).await.is_err());
}

/// Commands by the agent that `make build` puts beside the daemon.
#[tokio::test]
#[expect(clippy::print_stderr, reason = "a test that skips says so")]
async fn the_real_agent_runs_commands_needs_built_agent() {
    let beside = std::env::current_exe().unwrap();
    let agent = beside.ancestors().map(|folder| folder.join("banger-agent")).find(|path| path.is_file());
    let Some(agent) = agent else {
        eprintln!(
            "SKIPPED: the_real_agent_runs_commands_needs_built_agent: no banger-agent beside the tests: make build"
        );
        return;
    };
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let mut agent =
        std::process::Command::new(agent).arg("session").stdin(Stdio::from(OwnedFd::from(theirs))).spawn().unwrap();
    let session = timeout(BOUND, Session::open(UnixStream::from_std(ours).unwrap())).await.unwrap().unwrap();

    let (command, _) = session.request(exec(&["sh", "-c", "tr a-z A-Z; echo err >&2; exit 37"])).await.unwrap();
    let mut stdin = Bytes::from_static(b"hello");
    command.feed(&mut stdin).await.unwrap();
    assert!(stdin.is_empty());
    command.send(Body::Eof(Stream::Stdin)).await.unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = loop {
        match next(&command).await {
            Incoming::Body(Body::Data(Stream::Stdout, data)) => out.extend_from_slice(&data),
            Incoming::Body(Body::Data(Stream::Stderr, data)) => err.extend_from_slice(&data),
            Incoming::Body(Body::Exit(status)) => break status,
            Incoming::Body(_) => {}
            Incoming::Lost => panic!("the agent hung up"),
        }
    };
    assert_eq!((&out[..], &err[..], status), (&b"HELLO"[..], &b"err\n"[..], ExitStatus::Code(37)));

    drop(command);
    let refused = session.request(exec(&["no-such-command"])).await;
    assert!(matches!(refused, Err(SessionError::Refused(Refusal::NotFound { .. }))));
    // A command that nobody wants any more is killed: the agent ends with its session, and nothing of it is left.
    let (command, _) = session.request(exec(&["sleep", "1000"])).await.unwrap();
    drop(command);
    drop(session);
    let gone = timeout(BOUND, tokio::task::spawn_blocking(move || agent.wait())).await.expect("the agent lives on");
    gone.unwrap().unwrap();
}
