//! Clients that wait for one download from a slow registry: who stays gets it, who leaves does not end it for others, and the
//! last one to leave ends it.

use super::*;
use banger_model::ImageRef;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// How soon a server that holds back looks whether its client is still there.
const TICK: Duration = Duration::from_millis(10);

/// A registry with one image under every name, whose layer comes to an end only when that is allowed.
#[derive(Default)]
struct Slow {
    open: AtomicBool,
    asked: AtomicUsize,
    hung_up: AtomicUsize,
}

impl Slow {
    /// It serves until the process ends; its address.
    fn start() -> (Arc<Self>, String) {
        let (slow, listener) = (Arc::<Self>::default(), TcpListener::bind("127.0.0.1:0").unwrap());
        let address = listener.local_addr().unwrap().to_string();
        let serving = Arc::clone(&slow);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (slow, stream) = (Arc::clone(&serving), stream.unwrap());
                // A client may hang up at any time.
                std::thread::spawn(move || drop(slow.answer(stream)));
            }
        });
        (slow, address)
    }

    fn answer(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let path = head.split(' ').nth(1).unwrap();
        let (layer, layer_digest) = layer();
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{layer_digest}"]}}}}"#
        );
        let config_digest = digest(config.as_bytes());
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config_digest}","size":{}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{layer_digest}","size":{}}}]}}"#,
            config.len(),
            layer.len()
        );
        let is_layer = path.ends_with(&layer_digest);
        let (content, kind) = match path {
            _ if path.contains("/manifests/") => (manifest.into_bytes(), MANIFEST),
            _ if path.ends_with(&config_digest) => (config.into_bytes(), "application/octet-stream"),
            _ if is_layer => (layer, "application/octet-stream"),
            _ => return stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            content.len()
        );
        stream.write_all(head.as_bytes())?;
        let (now, later) = content.split_at(if is_layer { content.len() / 2 } else { content.len() });
        stream.write_all(now)?;
        if is_layer {
            self.asked.fetch_add(1, Ordering::SeqCst);
            self.hold(&mut stream)?;
        }
        stream.write_all(later)
    }

    /// Until it is allowed to go on, or nobody wants it to.
    fn hold(&self, stream: &mut TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(TICK))?;
        while !self.open.load(Ordering::SeqCst) {
            match stream.read(&mut [0]) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                _ => {
                    self.hung_up.fetch_add(1, Ordering::SeqCst);
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
            }
        }
        Ok(())
    }

    /// Lets all layers come to their ends.
    fn open(&self) {
        self.open.store(true, Ordering::SeqCst);
    }
}

fn digest(bytes: &[u8]) -> String {
    banger_model::Digest::from_bytes(Sha256::digest(bytes).into()).to_string()
}

/// A tar with one file, and its digest.
fn layer() -> (Vec<u8>, String) {
    const SIZE: usize = 256 << 10;
    let mut header = [0_u8; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, "zeros");
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{SIZE:011o}\0"));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut tar = header.to_vec();
    tar.resize(512 + SIZE + 1024, 0);
    let digest = digest(&tar);
    (tar, digest)
}

/// An operation that is followed; its client leaves when this is dropped.
struct Following {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Following {
    async fn begin(api: &Api, what: &str, body: Value) -> Self {
        let answer = api.send(what, &[("content-type", "application/json")], body.to_string()).await;
        Self { body: answer.into_body(), buffer: Vec::new() }
    }

    async fn pull(api: &Api, image: &str) -> Self {
        Self::begin(api, "POST /v1/images/pull", json!({ "image": image })).await
    }

    async fn next(&mut self) -> Value {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return serde_json::from_slice(&line).unwrap();
            }
            let frame =
                tokio::time::timeout(BOUND, self.body.frame()).await.expect("no event").expect("an end").unwrap();
            self.buffer.extend_from_slice(frame.data_ref().unwrap());
        }
    }

    /// Up to and with the first event that is one of these.
    async fn until(&mut self, events: &[&str]) -> Vec<Value> {
        let mut seen = Vec::new();
        while !seen.last().is_some_and(|event: &Value| events.contains(&event["event"].as_str().unwrap())) {
            seen.push(self.next().await);
        }
        seen
    }

    /// The last event.
    async fn end(mut self) -> Value {
        self.until(&["done", "failed"]).await.pop().unwrap()
    }
}

async fn comes(what: &str, holds: impl Fn() -> bool) {
    let look = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(BOUND, look).await.is_ok(), "it never came to that: {what}");
}

/// What is half made in the store.
fn staged(api: &Api) -> usize {
    let staging = api.app.paths.data.join("staging");
    std::fs::read_dir(staging).map_or(0, Iterator::count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_who_leaves_does_not_end_a_download_that_another_waits_for() {
    let api = Api::new().await;
    let (slow, address) = Slow::start();
    let image = format!("docker://{address}/a:1");
    let first = Following::pull(&api, &image).await;
    comes("the layer is asked for", || slow.asked.load(Ordering::SeqCst) == 1).await;
    let mut second = Following::pull(&api, &image).await;
    second.until(&["stage"]).await;
    // A create needs it, too: it waits for the same download.
    let mut create = json!({ "name": "box", "image": image, "memory": 134_217_728 });
    let mut third = Following::begin(&api, "POST /v1/vms", create.clone()).await;
    third.until(&["stage"]).await;
    drop(first);
    let open = async || api.get("/v1/operations").await.json()["operations"].as_array().unwrap().len();
    while open().await > 2 {
        tokio::time::sleep(TICK).await;
    }
    slow.open();
    let (pulled, created) = tokio::join!(second.end(), third.end());
    assert!(pulled["result"]["image"]["name"].as_str().is_some_and(|name| image.contains(name)), "{pulled}");
    assert_eq!(created["result"]["vm"]["spec"]["image_digest"], pulled["result"]["image"]["digest"], "{created}");
    assert_eq!((slow.asked.load(Ordering::SeqCst), slow.hung_up.load(Ordering::SeqCst)), (1, 0), "a second download");
    comes("nothing is left in staging", || staged(&api) == 0).await;

    // Whoever asks for it now is told that it is here; a create just takes it.
    let mut again = Following::pull(&api, &image).await;
    let told = again.until(&["done", "failed"]).await;
    assert!(told[1]["text"].as_str().unwrap().ends_with("is already here"), "{told:?}");
    create["name"] = "other".into();
    assert_eq!(Following::begin(&api, "POST /v1/vms", create).await.end().await["event"], "done");
    assert_eq!(slow.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_one_to_leave_ends_the_download_and_nothing_is_left() {
    let api = Api::new().await;
    let (slow, address) = Slow::start();
    let image = format!("docker://{address}/a:1");
    let first = Following::pull(&api, &image).await;
    comes("the layer is asked for", || slow.asked.load(Ordering::SeqCst) == 1).await;
    let mut second = Following::pull(&api, &image).await;
    second.until(&["stage"]).await;
    assert!(staged(&api) > 0);
    drop(first);
    drop(second);
    comes("the download ends", || slow.hung_up.load(Ordering::SeqCst) == 1).await;
    comes("nothing is left in staging", || staged(&api) == 0).await;
    let name: ImageRef = image.parse().unwrap();
    assert!(api.app.prepare.find_image(&name).await.is_err());
    // It can be had as if nothing had been.
    slow.open();
    assert_eq!(Following::pull(&api, &image).await.end().await["event"], "done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_name_and_leaves_stops_waiting_and_other_names_do_not_wait() {
    let api = Api::new().await;
    let (slow, address) = Slow::start();
    let (image, other) = (format!("docker://{address}/a:1"), format!("docker://{address}/b:1"));
    let pulling = Following::pull(&api, &image).await;
    comes("the layer is asked for", || slow.asked.load(Ordering::SeqCst) == 1).await;
    let beside = Following::pull(&api, &other).await;
    comes("another name does not wait", || slow.asked.load(Ordering::SeqCst) == 2).await;

    let path = format!("/v1/images/{}", image.replace('/', "%2F"));
    let mut deleting = Following::begin(&api, &format!("DELETE {path}"), Value::Null).await;
    deleting.until(&["begun"]).await;
    let open = async || api.get("/v1/operations").await.json()["operations"].to_string();
    assert!(open().await.contains("delete "), "it waits for the name");
    drop(deleting);
    while open().await.contains("delete ") {
        tokio::time::sleep(TICK).await;
    }
    assert_eq!(slow.hung_up.load(Ordering::SeqCst), 0, "the download was ended for a client that only waited");
    slow.open();
    let (pulled, beside) = tokio::join!(pulling.end(), beside.end());
    assert_eq!((&pulled["event"], &beside["event"]), (&json!("done"), &json!("done")));
    // What had left did not delete it after all.
    assert_eq!(api.get(&path).await.status, StatusCode::OK);
}
