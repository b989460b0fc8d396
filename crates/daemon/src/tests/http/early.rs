//! What comes to the socket and is no request, or only half of one.

use super::*;
use banger_model::{OpId, api::error::ErrorCode};
use rustix::process::{Uid, getuid};
use std::{
    fs,
    io::{Read, Write},
    net::Shutdown,
    os::unix::{fs::PermissionsExt, net::UnixStream as Plain},
};

/// Sends the bytes and reads to the end. A peer that is cut off reads what was sent before.
fn exchange(mut stream: Plain, bytes: &[u8], half_close: bool) -> String {
    stream.set_read_timeout(Some(BOUND)).unwrap();
    // Whoever is turned away may be so before it has said all.
    let _ = stream.write_all(bytes);
    if half_close {
        stream.shutdown(Shutdown::Write).unwrap();
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

impl Api {
    pub(in crate::tests) async fn raw(&self, bytes: impl Into<Vec<u8>>, half_close: bool) -> String {
        let (socket, bytes) = (self.daemon.socket(), bytes.into());
        let speak = move || exchange(Plain::connect(socket).unwrap(), &bytes, half_close);
        tokio::task::spawn_blocking(speak).await.unwrap()
    }

    /// Sends the bytes and hangs up.
    pub(in crate::tests) async fn leave(&self, bytes: String) {
        let socket = self.daemon.socket();
        let speak = move || Plain::connect(socket).unwrap().write_all(bytes.as_bytes()).unwrap();
        tokio::task::spawn_blocking(speak).await.unwrap();
    }
}

/// The status and the error of an answer whose header and body name the same operation.
pub(in crate::tests) fn refusal(answer: &str) -> (u16, ErrorBody) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let error: ErrorBody = serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"));
    let named = head.lines().find_map(|line| line.strip_prefix("banger-op: ")).unwrap_or_else(|| panic!("{answer}"));
    assert_eq!(named, error.op.unwrap().to_string(), "{answer}");
    assert!(head.contains("banger-version: ") && head.contains(&format!("content-length: {}", body.len())), "{answer}");
    (head.split(' ').nth(1).unwrap().parse().unwrap(), error)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_request_is_answered_with_an_operations_id() {
    let api = Api::new().await;
    let many: String = (0..200).map(|n| format!("x-{n}: y\r\n")).collect();
    let cases: [(Vec<u8>, bool); 9] = [
        (b"nonsense\r\n\r\n".into(), false),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".into(), false),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), false),
        (b"GET /v1/vms HTTP/9.9\r\nhost: x\r\n\r\n".into(), false),
        (b"POST /v1/vms HTTP/1.1\r\nhost: x\r\ncontent-length: many\r\n\r\n".into(), false),
        (format!("GET /v1/vms HTTP/1.1\r\nhost: x\r\n{many}\r\n").into(), false),
        (format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(100_000)).into(), false),
        (b"GET /v1/da".into(), true),
        (b"GET /v1/vms HTTP/1.1\r\nhost: x\r\n".into(), true),
    ];
    let mut seen = std::collections::BTreeSet::new();
    for (bytes, half_close) in cases {
        let what = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        let (status, error) = refusal(&api.raw(bytes, half_close).await);
        assert_eq!((status, error.code), (400, ErrorCode::BadRequest), "{what}: {error:?}");
        assert_eq!(error.causes.len(), 1, "{what}: {error:?}");
        assert!(seen.insert(error.op), "{what}: an id was given twice");
    }
    // And those after them are served as if nothing had been.
    assert_eq!(api.get("/v1/daemon").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_cut_off_is_answered_with_the_operations_id() {
    let api = Api::new().await;
    let op = OpId::from_entropy([7; 16]);
    let head = format!("POST /v1/vms HTTP/1.1\r\nhost: x\r\n{OP_HEADER}: {op}\r\ncontent-type: application/json\r\n");
    for body in ["content-length: 100\r\n\r\n{\"name\":", "transfer-encoding: chunked\r\n\r\n5\r\n{\"nam"] {
        let (status, error) = refusal(&api.raw(format!("{head}{body}"), true).await);
        assert_eq!((status, error.code, error.op), (400, ErrorCode::BadRequest, Some(op)), "{error:?}");
    }
    assert!(api.app.db.vms().await.unwrap().is_empty());
}

/// One request a connection: what comes after it is not read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_request_on_a_connection_is_not_taken() {
    let api = Api::new().await;
    let one = "GET /v1/vms HTTP/1.1\r\nhost: x\r\n\r\n";
    let answer = api.raw([one, one].concat(), false).await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
    assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_that_is_open_is_not_opened_again() {
    let api = Api::new().await;
    let (cx, _events) = begin(&api.app);
    let headers = [("content-type", "application/json"), (OP_HEADER, &*cx.id().to_string())];
    let refused = api.ask("POST /v1/images/pull", &headers, r#"{"image":"debian-bookworm"}"#).await;
    let error = refused.error();
    assert_eq!(
        (refused.status.as_u16(), error.code, error.op),
        (409, ErrorCode::BadRequest, Some(cx.id())),
        "{error:?}"
    );
    assert!(error.message.contains("is open already"), "{error:?}");
}

/// The modes of socket and folder keep others out; this is what is behind them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_user_is_told_so_and_no_more() {
    if !getuid().is_root() {
        println!("SKIPPED: another_user_is_told_so_and_no_more: only root can be somebody else");
        return;
    }
    let api = Api::new().await;
    let socket = api.daemon.socket();
    for folder in [api.bench.folder.path(), socket.parent().unwrap()] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    let request = b"POST /v1/daemon/stop HTTP/1.1\r\nhost: x\r\n\r\n";
    let stranger = move || {
        rustix::thread::set_thread_uid(Uid::from_raw(12345)).unwrap();
        exchange(Plain::connect(socket).unwrap(), request, false)
    };
    // A thread of its own, since it stays somebody else.
    let (told, answer) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || told.send(stranger()));
    let (status, error) = refusal(&answer.await.unwrap());
    assert_eq!((status, error.code), (403, ErrorCode::Forbidden), "{error:?}");
    assert!(error.causes[0].contains("user 12345"), "{error:?}");
    assert!(!api.app.shutdown.is_cancelled());
}
