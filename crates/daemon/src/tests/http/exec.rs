//! Commands, over frames and over lines.

use super::*;
use banger_model::{
    api::{EXEC_CHANNEL, EXEC_PROTOCOL, error::ErrorCode, vm::EndReason},
    wire::{
        Body, Decoder, Frame, Stream,
        frame::{INITIAL_WINDOW, MAX_DATA, MAX_WINDOW},
        guest::{ExitStatus, Refusal, Reply},
    },
};
use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::upgrade::Upgraded;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

/// A client's end of an upgraded connection.
struct Frames {
    read: ReadHalf<TokioIo<Upgraded>>,
    write: WriteHalf<TokioIo<Upgraded>>,
    decoder: Decoder,
}

impl Frames {
    async fn open(api: &Api, argv: &[&str]) -> Self {
        let headers = [("content-type", "application/json"), ("connection", "Upgrade"), ("upgrade", EXEC_PROTOCOL)];
        let answer = api.send("POST /v1/vms/box/exec", &headers, json!({ "argv": argv }).to_string()).await;
        assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert!(answer.headers().contains_key(OP_HEADER));
        let stream = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
        let (read, write) = tokio::io::split(stream);
        let mut frames = Self { read, write, decoder: Decoder::default() };
        assert_eq!(frames.next().await, Some(Body::Accept(Box::new(Reply::Started { pid: 7 }))));
        frames
    }

    /// The next frame's body; nothing at the end.
    async fn next(&mut self) -> Option<Body> {
        let next = async {
            let mut buffer = [0; 8192];
            loop {
                if let Some(frame) = self.decoder.next_frame().unwrap() {
                    assert_eq!(frame.channel, EXEC_CHANNEL);
                    return Some(frame.body);
                }
                match self.read.read(&mut buffer).await {
                    Ok(0) | Err(_) => return None,
                    Ok(n) => self.decoder.feed(&buffer[..n]),
                }
            }
        };
        tokio::time::timeout(BOUND, next).await.expect("no frame")
    }

    async fn send(&mut self, body: Body) {
        let bytes = Frame { channel: EXEC_CHANNEL, body }.to_bytes().unwrap();
        self.write.write_all(&bytes).await.unwrap();
    }

    /// The words with which a lost command ends.
    async fn lost(&mut self) -> String {
        loop {
            match self.next().await.expect("an end without a word") {
                Body::Refuse(Refusal::Failed { reason, .. }) => {
                    assert_eq!(self.next().await, None, "something comes after it");
                    return reason;
                }
                Body::Exit(status) => panic!("{status:?}"),
                _ => {}
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_go_through_unharmed_both_ways() {
    const LENGTH: usize = 16 << 20;
    let api = Api::with_box().await;
    let mut frames = Frames::open(&api, &["cat"]).await;
    let pattern = |at: usize| u8::try_from(at % 251).unwrap();
    let (mut sent, mut got, mut room) = (0, 0, INITIAL_WINDOW as usize);
    loop {
        while sent < LENGTH && room > 0 {
            let length = room.min(MAX_DATA).min(LENGTH - sent);
            let data: Vec<u8> = (sent..sent + length).map(pattern).collect();
            frames.send(Body::Data(Stream::Stdin, data.into())).await;
            (sent, room) = (sent + length, room - length);
            if sent == LENGTH {
                frames.send(Body::Eof(Stream::Stdin)).await;
            }
        }
        match frames.next().await.unwrap() {
            Body::Data(Stream::Stdout, data) => {
                assert!(data.iter().enumerate().all(|(at, byte)| *byte == pattern(got + at)), "at {got}");
                got += data.len();
                frames.send(Body::Credit(Stream::Stdout, u32::try_from(data.len()).unwrap())).await;
            }
            Body::Credit(Stream::Stdin, bytes) => room += bytes as usize,
            Body::Eof(Stream::Stdout) => {}
            Body::Exit(status) => {
                assert_eq!(status, ExitStatus::Code(0));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(got, LENGTH);
    assert_eq!(frames.next().await, None);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_sent_no_more_than_it_allowed() {
    let api = Api::with_box().await;
    let mut frames = Frames::open(&api, &["zeros", "1000000000"]).await;
    // Another command goes its way beside it.
    let other = api.post("/v1/vms/box/exec", json!({ "argv": ["exit", "3"] })).await;
    assert_eq!(other.lines().last().unwrap(), &json!({ "exit": { "code": 3 } }));
    assert_eq!(*api.seen.sent.lock().unwrap(), u64::from(INITIAL_WINDOW));
    frames.send(Body::Credit(Stream::Stdout, 1000)).await;
    let mut got = 0;
    while got < INITIAL_WINDOW as usize + 1000 {
        let Some(Body::Data(Stream::Stdout, data)) = frames.next().await else { panic!("only data is sent") };
        got += data.len();
    }
    assert_eq!(*api.seen.sent.lock().unwrap(), u64::from(INITIAL_WINDOW) + 1000);
}

#[tokio::test]
async fn a_client_that_goes_takes_its_command_with_it() {
    let api = Api::with_box().await;
    let frames = Frames::open(&api, &["hang"]).await;
    drop(frames);
    tokio::time::timeout(BOUND, api.seen.closed.notified()).await.expect("the guest hears of it");
    // As lines, too.
    let answer =
        api.send("POST /v1/vms/box/exec", &[("content-type", "application/json")], r#"{"argv":["hang"]}"#).await;
    let mut body = answer.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "{\"started\":7}\n");
    drop(body);
    tokio::time::timeout(BOUND, api.seen.closed.notified()).await.expect("the guest hears of it");
}

#[tokio::test]
async fn a_client_that_breaks_the_protocol_loses_its_command_and_nobody_elses() {
    let api = Api::with_box().await;
    let mut bystander = Frames::open(&api, &["hang"]).await;
    let too_much = vec![Body::Data(Stream::Stdin, vec![0; MAX_DATA].into()); INITIAL_WINDOW as usize / MAX_DATA + 1];
    for (offence, words) in [
        (vec![Body::Credit(Stream::Stdout, MAX_WINDOW)], "more credit than a window has room for"),
        (too_much, "more data than the window allows"),
        (vec![Body::Exit(ExitStatus::Code(0))], "only the guest sends"),
        (vec![Body::Credit(Stream::Stdin, 1)], "only the guest sends"),
    ] {
        let mut frames = Frames::open(&api, &["hang"]).await;
        for body in offence {
            frames.send(body).await;
        }
        let lost = frames.lost().await;
        assert!(lost.contains(words), "{lost}");
    }
    let mut frames = Frames::open(&api, &["hang"]).await;
    frames.write.write_all(b"this is no frame at all").await.unwrap();
    assert!(frames.lost().await.contains("frames that are not usable"));
    let mut frames = Frames::open(&api, &["hang"]).await;
    let bytes = Frame { channel: EXEC_CHANNEL + 1, body: Body::Close }.to_bytes().unwrap();
    frames.write.write_all(&bytes).await.unwrap();
    assert!(frames.lost().await.contains("another channel"));
    bystander.send(Body::Close).await;
    assert_eq!(bystander.next().await, None);
}

#[tokio::test]
async fn a_guest_that_ends_under_a_command_is_told_with_its_reason() {
    for (end, words, code) in [
        (EndReason::PoweredOff, "the guest powered itself off", ErrorCode::Guest),
        (EndReason::Panicked { message: "oops".into() }, "the guest's kernel panicked: oops", ErrorCode::GuestPanic),
    ] {
        let api = Api::with_box().await;
        let id = api.app.named(&name("box")).await.unwrap().id;
        std::fs::write(api.bench.folder.path().join(format!("{id}.1")), "first\nlast words\n").unwrap();
        let mut frames = Frames::open(&api, &["hang"]).await;
        let request = json!({ "argv": ["hang"] });
        let (lines, ()) = tokio::join!(api.post("/v1/vms/box/exec", request), async {
            // Once the second command has been begun as well.
            while !lost_in_two(&api).await {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            api.bench.world.end(id, end);
        });
        let lost = frames.lost().await;
        assert!(lost.contains("box ended while it was in use") && lost.contains(words), "{lost}");
        let lines = lines.lines();
        let failed: ErrorBody = serde_json::from_value(lines.last().unwrap()["failed"].clone()).unwrap();
        assert_eq!((failed.code, failed.console), (code, vec!["first".to_owned(), "last words".to_owned()]));
        assert!(failed.message.contains(words), "{}", failed.message);
    }
}

/// Whether the modelled guest has both commands.
async fn lost_in_two(api: &Api) -> bool {
    api.seen.begun.load(std::sync::atomic::Ordering::Relaxed) >= 2
}

#[tokio::test]
async fn a_hostile_guest_loses_its_session_and_the_daemon_nothing() {
    let api = Api::with_box().await;
    for offence in ["flood", "garbage"] {
        // The next command finds a fresh session.
        let mut frames = Frames::open(&api, &[offence]).await;
        api.bench.world.end(api.app.named(&name("box")).await.unwrap().id, EndReason::Lost);
        assert!(frames.lost().await.contains("its VMM is gone"), "{offence}");
        until(&api.app, |vm| vm.is_some_and(|vm| vm.target == Target::Stopped)).await;
        act(&api.app, Verb::Start).await.unwrap();
    }
}

#[tokio::test]
async fn lines_for_those_who_do_not_upgrade() {
    let api = Api::with_box().await;
    let stdin = STANDARD.encode("some text");
    let lines = api.post("/v1/vms/box/exec", json!({ "argv": ["cat"], "stdin": stdin })).await.lines();
    let expected = [json!({ "started": 7 }), json!({ "stdout": stdin }), json!({ "exit": { "code": 0 } })];
    assert_eq!(lines, expected);
    let lines = api.post("/v1/vms/box/exec", json!({ "argv": ["exit", "37"] })).await.lines();
    assert_eq!(lines[1..], [json!({ "stderr": STANDARD.encode("bye") }), json!({ "exit": { "code": 37 } })]);
    // Far more than a window.
    let lines = api.post("/v1/vms/box/exec", json!({ "argv": ["zeros", "3000000"] })).await.lines();
    let bytes = lines.iter().filter_map(|line| Some(STANDARD.decode(line.get("stdout")?.as_str()?).unwrap().len()));
    assert_eq!(bytes.sum::<usize>(), 3_000_000);
    let large = STANDARD.encode(vec![b'x'; 1 << 20]);
    let lines = api.post("/v1/vms/box/exec", json!({ "argv": ["cat"], "stdin": large })).await.lines();
    assert_eq!(lines.last().unwrap(), &json!({ "exit": { "code": 0 } }));
    let answer = api.post("/v1/vms/box/exec", json!({ "argv": ["cat"], "stdin": "!" })).await;
    assert_eq!(answer.error().code, ErrorCode::BadRequest);
}

#[tokio::test]
async fn what_cannot_be_run_is_refused_before_the_upgrade() {
    let api = Api::with_box().await;
    let upgrade = [("content-type", "application/json"), ("connection", "upgrade"), ("upgrade", EXEC_PROTOCOL)];
    for headers in [&upgrade[..], &upgrade[..1]] {
        let answer = api.ask("POST /v1/vms/box/exec", headers, r#"{"argv":["nope"]}"#).await;
        let error = answer.error();
        assert_eq!(error.code, ErrorCode::CommandNotFound);
        assert!(error.causes.iter().any(|cause| cause.contains("\"nope\"")), "{error:?}");
    }
    let long = "x".repeat(100_000);
    let error = api.post("/v1/vms/box/exec", json!({ "argv": ["cat", long] })).await.error();
    assert!(error.code == ErrorCode::BadRequest && error.fix.unwrap().contains("64 KiB"));
}

#[tokio::test]
async fn the_images_configuration_is_under_the_requests() {
    let api = Api::with_box().await;
    let request = json!({ "argv": ["env"], "env": ["WHO=request", "NEW=1"], "user": "ann" });
    let lines = api.post("/v1/vms/box/exec", request).await.lines();
    let exec: Value = serde_json::from_slice(&STANDARD.decode(lines[1]["stdout"].as_str().unwrap()).unwrap()).unwrap();
    assert_eq!(exec["env"], json!(["FROM=image", "WHO=request", "NEW=1"]));
    assert_eq!(exec["user"], "ann");
}
