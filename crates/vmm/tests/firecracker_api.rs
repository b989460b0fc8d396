//! What we say to Firecracker, said to the real one: it takes every field as we spell it, and refuses any other, so it
//! judges our types better than a description could. Needs no KVM: nothing is started.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod support;

use banger_vmm::firecracker::resource::{
    Balloon, BootSource, CacheType, Drive, EntropyDevice, MachineConfiguration, Metrics, Put, RateLimiter, TokenBucket,
    Vsock,
};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::{BOUND, Place, firecracker};

/// One that has been told nothing yet.
struct Fresh {
    process: Child,
    socket: PathBuf,
}

impl Fresh {
    fn start(program: &Path, folder: &Path) -> Self {
        let socket = folder.join("api.sock");
        let _ = std::fs::remove_file(&socket);
        let process = Command::new(program).arg("--api-sock").arg(&socket).stdout(Stdio::null()).spawn().unwrap();
        let fresh = Self { process, socket };
        let start = Instant::now();
        while UnixStream::connect(&fresh.socket).is_err() {
            assert!(start.elapsed() < BOUND, "it does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        fresh
    }

    /// The status of the answer, and what it says.
    fn put(&self, path: &str, body: &Value) -> (u16, String) {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(BOUND)).unwrap();
        let body = body.to_string();
        let length = body.len();
        write!(stream, "PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        let mut chunk = [0; 4096];
        while !answer.contains("\r\n\r\n") || (answer.contains("Content-Length") && !answer.ends_with('}')) {
            let n = stream.read(&mut chunk).unwrap();
            assert!(n > 0, "it hung up after {answer:?}");
            answer.push_str(std::str::from_utf8(&chunk[..n]).unwrap());
        }
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer.split("\r\n\r\n").nth(1).unwrap().to_owned())
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Everything that can be said before a guest is started, each with all that we know of it.
fn puts(place: &Place) -> Vec<Put> {
    let file = |name: &str| {
        let path = place.path(name);
        std::fs::write(&path, [0; 4096]).unwrap();
        path
    };
    let limiter = RateLimiter {
        bandwidth: Some(TokenBucket { size: 1 << 20, refill_time: 1000, one_time_burst: Some(1 << 20) }),
        ops: TokenBucket::per_second(100),
    };
    let drive = |id: &str, read_only, cache| {
        Put::Drive(Drive {
            drive_id: id.into(),
            path_on_host: file(id),
            is_root_device: false,
            is_read_only: read_only,
            cache_type: Some(cache),
            rate_limiter: Some(limiter),
        })
    };
    vec![
        Put::Metrics(Metrics { metrics_path: file("metrics") }),
        Put::MachineConfig(MachineConfiguration { vcpu_count: 2, mem_size_mib: 128 }),
        Put::BootSource(BootSource {
            kernel_image_path: file("kernel"),
            initrd_path: Some(file("initrd")),
            boot_args: Some("a=b".into()),
        }),
        drive("one", true, CacheType::Writeback),
        drive("two", false, CacheType::Unsafe),
        Put::Vsock(Vsock { guest_cid: 3, uds_path: place.path("vsock") }),
        Put::Entropy(EntropyDevice { rate_limiter: Some(limiter) }),
        Put::Balloon(Balloon { amount_mib: 0, deflate_on_oom: true, stats_polling_interval_s: Some(5) }),
    ]
}

/// Every value in it that is not an object, replaced by one of another type.
fn wrong_types(body: &Value) -> Vec<(String, Value)> {
    let mut wrong = Vec::new();
    for (field, value) in body.as_object().unwrap() {
        let inner = match value {
            Value::Object(_) => wrong_types(value),
            Value::String(_) => vec![(String::new(), json!(7))],
            _ => vec![(String::new(), json!("text"))],
        };
        for (below, replaced) in inner {
            let mut body = body.clone();
            body[field] = replaced;
            wrong.push((format!("{field}.{below}"), body));
        }
    }
    wrong
}

#[tokio::test]
async fn firecracker_knows_every_field_and_no_other() {
    let test = "firecracker_knows_every_field_and_no_other";
    let Some(binary) = firecracker(test).await else { return };
    let place = Place::new();
    let fresh = Fresh::start(&binary.path, place.root());
    for put in puts(&place) {
        let (path, body) = (put.path(), serde_json::to_value(&put).unwrap());
        for (field, body) in wrong_types(&body) {
            let (status, answer) = fresh.put(&path, &body);
            assert_eq!(status, 400, "it takes another type for {field} of {path}: {answer}");
        }
        // The one resource of which it takes any field; its only one is required, which the other test shows.
        if !matches!(put, Put::Metrics(_)) {
            let mut more = body.clone();
            more["unheard_of"] = json!(1);
            let (status, answer) = fresh.put(&path, &more);
            assert_eq!(status, 400, "it takes any field of {path}, so it is no judge of names: {answer}");
            assert!(answer.contains("fault_message") && answer.contains("unheard_of"), "{answer}");
        }

        let (status, answer) = fresh.put(&path, &body);
        assert_eq!(status, 204, "it refuses {path} {body}: {answer}");
    }
    for word in ["InstanceStart", "FlushMetrics"] {
        // It knows the word when it gets as far as saying why not now, or does it.
        let (_, answer) = fresh.put("/actions", &json!({ "action_type": word }));
        assert!(!answer.contains("unknown variant"), "{answer}");
    }
    let (_, answer) = fresh.put("/actions", &json!({ "action_type": "Dance" }));
    assert!(answer.contains("unknown variant"), "{answer}");
}

#[tokio::test]
async fn firecracker_can_do_without_what_we_may_leave_out() {
    let test = "firecracker_can_do_without_what_we_may_leave_out";
    let Some(binary) = firecracker(test).await else { return };
    let place = Place::new();
    let fresh = Fresh::start(&binary.path, place.root());
    for put in puts(&place) {
        let least = match put {
            Put::BootSource(boot) => Put::BootSource(BootSource { initrd_path: None, boot_args: None, ..boot }),
            Put::Drive(drive) => Put::Drive(Drive { cache_type: None, rate_limiter: None, ..drive }),
            Put::Entropy(_) => Put::Entropy(EntropyDevice::default()),
            Put::Balloon(balloon) => Put::Balloon(Balloon { stats_polling_interval_s: None, ..balloon }),
            all => all,
        };
        let body = serde_json::to_value(&least).unwrap();
        let (status, answer) = fresh.put(&least.path(), &body);
        assert_eq!(status, 204, "it refuses {} {body}: {answer}", least.path());
        for field in body.as_object().unwrap().keys() {
            let mut less = body.clone();
            less.as_object_mut().unwrap().remove(field);
            let (status, answer) = fresh.put(&least.path(), &less);
            // A drive is writable when nothing is said.
            assert!(field == "is_read_only" || status == 400, "it needs no {field} of {}: {answer}", least.path());
        }
    }
}
