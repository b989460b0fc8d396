//! Everything that reads foreign bytes here, fed with changed ones: an answer or an error, and what was read is what is
//! written.

#![allow(clippy::print_stdout, reason = "how much was tried is for the reader of the log")]

use crate::api::{daemon::*, doctor::*, error::*, exec::*, image::*, op::*, stats::*, vm::*};
use crate::wire::guest::{Control, Exec, ExitStatus, Refusal, Reply, Request, Signal, TtySize};
use crate::wire::hello::{Greeting, Hunt};
use crate::wire::{Body, Decoder, Frame, Stream};
use crate::{ByteSize, Digest, ImageRef, KernelRef, OpId, VmId, VmName};
use banger_damage::fuzz::fuzz;
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::{Debug, Display};
use std::str::FromStr;

/// What a decoder may hold beside what it is given, in bytes.
const MEMORY: usize = 1 << 20;

fn frames() -> Vec<Vec<u8>> {
    let exec = Exec { argv: vec!["true".into()], tty: Some(TtySize { rows: 24, cols: 80 }), ..Exec::default() };
    let bodies = [
        Body::Open(Box::new(Request::Exec(exec))),
        Body::Accept(Box::new(Reply::Started { pid: 7 })),
        Body::Refuse(Refusal::UnknownUser { user: "nobody2".into() }),
        Body::Data(Stream::Stdout, bytes::Bytes::from_static(b"hello")),
        Body::Eof(Stream::Stdin),
        Body::Credit(Stream::Stderr, 4096),
        Body::Control(Control::Signal(Signal(2))),
        Body::Exit(ExitStatus::Code(37)),
        Body::Close,
    ];
    let frame = |body| Frame { channel: 7, body }.to_bytes().expect("they are small").to_vec();
    let mut corpus: Vec<Vec<u8>> = bodies.into_iter().map(frame).collect();
    corpus.push(corpus.concat());
    corpus
}

#[test]
fn fuzzed_frames_of_the_guest() {
    let words: [&[u8]; 5] = [b"{\"exec\":", b"[[[[[[[[[[[[[[[[", b"\"argv\":", b"\xff\xff\xff\xff", b"\\u0000"];
    let report = fuzz("guest frames", &frames(), &words, MEMORY, |bytes| {
        let mut decoder = Decoder::default();
        decoder.feed(bytes);
        while let Ok(Some(frame)) = decoder.next_frame() {
            let Ok(again) = frame.to_bytes() else { continue };
            let mut decoder = Decoder::default();
            decoder.feed(&again);
            assert_eq!(decoder.next_frame().expect("what we encoded"), Some(frame));
            assert!(decoder.into_rest().is_empty());
        }
    });
    println!("{report}");
}

#[test]
fn fuzzed_greetings() {
    let greeting = Greeting { version: 1, nonce: *b"0123456789abcdef" };
    let corpus = [greeting.to_guest().to_vec(), greeting.to_host().to_vec(), b"[ 0.1] console\n".repeat(9)];
    let report = fuzz("greetings", &corpus, &[&greeting.to_guest()[..10]], MEMORY, |bytes| {
        for (mut whole, mut pieces) in [(Hunt::for_host(), Hunt::for_host()), (Hunt::for_guest(), Hunt::for_guest())] {
            let found = whole.feed(bytes).map(|(greeting, _)| greeting);
            let in_pieces = bytes.chunks(7).find_map(|piece| pieces.feed(piece)).map(|(greeting, _)| greeting);
            assert_eq!(found, in_pieces, "however it comes");
        }
    });
    println!("{report}");
}

/// What was read is read again from what is written of it.
fn json<T: Serialize + DeserializeOwned + Debug>(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<T>(bytes) else { return };
    let text = serde_json::to_string(&value).expect("what was read can be written");
    let again: T = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(serde_json::to_string(&again).expect("as before"), text);
}

#[test]
fn fuzzed_documents_of_the_api() {
    let digest = format!("sha256:{}", "ab".repeat(32));
    let corpus = [
        r#"{"name":"box","image":"debian-bookworm","memory":268435456,"vcpu":2,"start":true,"rm":false}"#.into(),
        r#"{"argv":["sh","-c","true"],"env":["A=b"],"user":"root","tty":{"rows":24,"cols":80}}"#.into(),
        r#"{"image":"docker.io/library/alpine:3","force":true}"#.into(),
        r#"{"source":"rootfs:/tmp/a.tar","name":"mine"}"#.into(),
        r#"{"kernel":"debian","newest":true}"#.into(),
        r#"{"name":"mine","kernel":"/boot/vmlinuz","modules":"/lib/modules/6.1"}"#.into(),
        r#"{"code":"not-found","message":"there is no VM box","op":"op-7f3a91"}"#.into(),
        r#"{"event":"progress","done":5,"total":18446744073709551615}"#.into(),
        format!(
            r#"{{"name":"a","digest":"{digest}","size":1,"created_ms":1,"config":{{"env":["A=b"],"cmd":["sh"]}}}}"#
        ),
    ];
    let corpus = corpus.map(String::into_bytes);
    let words: [&[u8]; 8] =
        [b"null", b"[]", b"{}", b"\"\"", b"1e400", b"-0", b"\"\\ud800\"", b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["];
    let report = fuzz("API documents", &corpus, &words, MEMORY, |bytes| {
        json::<CreateVm>(bytes);
        json::<VmView>(bytes);
        json::<PruneList>(bytes);
        json::<DaemonInfo>(bytes);
        json::<DoctorReport>(bytes);
        json::<ErrorBody>(bytes);
        json::<ExecRequest>(bytes);
        json::<ExecEvent>(bytes);
        json::<PullImage>(bytes);
        json::<ImportImage>(bytes);
        json::<ImageView>(bytes);
        json::<PullKernel>(bytes);
        json::<ImportKernel>(bytes);
        json::<KernelView>(bytes);
        json::<OpEvent>(bytes);
        json::<OperationView>(bytes);
        json::<OpLog>(bytes);
        json::<VmStats>(bytes);
    });
    println!("{report}");
}

fn text<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    let Ok(value) = text.parse::<T>() else { return };
    let said = value.to_string();
    assert_eq!(said.parse::<T>().ok(), Some(value), "{text:?} became {said:?}");
}

#[test]
fn fuzzed_names_and_references() {
    let digest = format!("sha256:{}", "ab".repeat(32));
    let corpus = [
        "debian-bookworm".into(),
        "docker.io/library/alpine:3".into(),
        format!("localhost:5000/a/b@{digest}"),
        "rootfs:/tmp/a.tar".into(),
        "oci:/tmp/layout:tag".into(),
        "docker-archive:/tmp/a.tar".into(),
        digest,
        "512M".into(),
        "1.5 GiB".into(),
        "op-0123456789abcdef".into(),
        "box-1".into(),
    ];
    let corpus = corpus.map(String::into_bytes);
    let words: [&[u8]; 8] = [b":", b"/", b"@", b"..", b"\0", b"\xc3\xa4", b"sha256:", b"999999999999999999999"];
    let report = fuzz("names and references", &corpus, &words, MEMORY, |bytes| {
        let bytes = String::from_utf8_lossy(bytes);
        text::<ImageRef>(&bytes);
        text::<KernelRef>(&bytes);
        text::<Digest>(&bytes);
        text::<VmName>(&bytes);
        text::<VmId>(&bytes);
        text::<OpId>(&bytes);
        let _a_size_is_rounded_when_it_is_said = bytes.parse::<ByteSize>();
    });
    println!("{report}");
}
