//! The API by way of `curl --unix-socket`: everything that the command line does, without it.

use crate::kernels::bzimage;
use banger_e2e::{Call, Output, Sandbox, fixture::image, wait_for};
use serde_json::{Value, json};
use std::cell::RefCell;

/// The events of an operation; the last one must be `done`.
fn done(output: &Output) -> Value {
    let last = output.ok().lines().last().unwrap_or_else(|| panic!("no events: {output}"));
    let event: Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("{output}"));
    assert_eq!(event["event"], "done", "{output}");
    event
}

/// A sandbox that is spoken to by `curl` alone, and what has been asked of it.
struct Curl {
    sandbox: Sandbox,
    asked: RefCell<Vec<(String, String)>>,
}

impl Curl {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        sandbox.daemon_pid();
        Self { sandbox, asked: RefCell::default() }
    }

    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Call {
        let route = path.split('?').next().unwrap();
        self.asked.borrow_mut().push((method.to_lowercase(), format!("/v1{route}")));
        self.sandbox.api(method, path, body)
    }

    fn get(&self, path: &str) -> Value {
        self.call("GET", path, None).run().json()
    }

    /// An operation, which must succeed.
    fn does(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        done(&self.call(method, path, body.as_ref()).run())
    }

    fn names(&self, path: &str, list: &str) -> Vec<String> {
        let names = self.get(path);
        names[list].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Asserts that something was asked of every route of the description that is about such things.
    #[track_caller]
    fn assert_all_asked(&self, about: impl Fn(&str) -> bool) {
        let document = self.get("/openapi.json");
        let fits = |pattern: &str, path: &str| {
            let (pattern, path): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), path.split('/').collect());
            pattern.len() == path.len() && pattern.iter().zip(path).all(|(a, b)| a.starts_with('{') || *a == b)
        };
        let asked = self.asked.borrow();
        let routes = document["paths"].as_object().unwrap().iter();
        let routes =
            routes.flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(move |method| (method, path)));
        let left: Vec<_> = routes
            .filter(|(_, path)| about(path.split('/').nth(2).unwrap()))
            .filter(|(method, path)| !asked.iter().any(|(asked, on)| asked == *method && fits(path, on)))
            .map(|(method, path)| format!("{method} {path}"))
            .collect();
        assert_eq!(left, Vec::<String>::new(), "nothing was asked of these");
    }
}

/// How a reference is written in a path.
fn encoded(reference: &str) -> String {
    reference.replace(':', "%3A").replace('/', "%2F")
}

/// What the routes of VMs begin with.
const OF_VMS: [&str; 3] = ["vms", "prune", "operations"];

#[test]
fn a_vm_from_create_to_delete_without_the_command_line() {
    let curl = Curl::new();
    let body = json!({ "name": "box", "image": image::busybox_reference() });
    let made = curl.does("POST", "/vms", Some(body.clone()));
    assert_eq!(made["result"]["vm"]["status"], "stopped");
    assert_eq!(curl.names("/prune", "vms"), ["box"]);
    assert_eq!(curl.does("POST", "/vms/box/start", None)["result"]["vm"]["status"], "running");
    assert_eq!(curl.names("/prune", "vms"), Vec::<String>::new());
    let exec = json!({ "argv": ["sh", "-c", "cat; echo err >&2; exit 37"], "stdin": "aGkK" });
    let output = curl.call("POST", "/vms/box/exec", Some(&exec)).run();
    let events: Vec<Value> = output.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.contains(&json!({ "stdout": "aGkK" })), "{output}");
    assert!(events.contains(&json!({ "stderr": "ZXJyCg==" })), "{output}");
    assert_eq!(events.last().unwrap()["exit"], json!({ "code": 37 }), "{output}");
    assert_eq!(curl.get("/vms/box")["name"], "box");
    assert_eq!(curl.names("/vms", "vms"), ["box"]);
    assert!(!curl.call("GET", "/vms/box/logs", None).run().ok().is_empty());
    assert!(curl.get("/vms/box/stats?interval_ms=0")["cpu"]["used_ms"].as_u64() > Some(0));

    let mut tar = image::Tree::new(Vec::new());
    tar.file("greeting", b"by curl\n", 0o640, 0);
    let tar = tar.finish();
    let put = curl.call("PUT", "/vms/box/files?path=/root/kept", None).words("--data-binary @-").stdin(tar);
    put.words("-f -H content-type:application/x-tar").run().ok();
    let back = curl.call("GET", "/vms/box/files?path=/root/kept", None).run();
    let back = curl.sandbox.tool("tar").words("-xO").stdin(back.bytes).run();
    assert_eq!(back.ok(), "by curl");

    curl.does("POST", "/vms/box/restart", None);
    curl.does("POST", "/vms/box/kill", None);
    assert_eq!(curl.get("/vms/box")["last_end"]["reason"]["why"], "killed");
    curl.does("POST", "/vms/box/stop", None);
    let start = curl.call("POST", "/vms/box/start", None).start();
    let op = wait_for("the boot", || {
        let open = curl.get("/operations")["operations"][0].clone();
        (open["stage"]["stage"] == "boot").then(|| open["op"].as_str().unwrap().to_owned())
    });
    curl.call("DELETE", &format!("/operations/{op}"), None).words("-f").run().ok();
    let started = start.wait();
    let last: Value = serde_json::from_str(started.ok().lines().last().unwrap()).unwrap();
    assert_eq!((&last["event"], &last["error"]["code"]), (&json!("failed"), &json!("cancelled")), "{started}");
    let log = curl.get(&format!("/operations/{op}/log"));
    assert!(log["records"].to_string().contains("cancelled"), "{log}");
    assert_eq!(curl.get("/vms/box")["status"], "stopped");
    curl.does("DELETE", "/vms/box", None);
    curl.assert_all_asked(|word| OF_VMS.contains(&word));
    curl.sandbox.assert_no_vm_left();
}

#[test]
fn images_kernels_and_the_daemon_itself_without_the_command_line() {
    let curl = Curl::new();
    let reference = image::busybox_reference();
    curl.does("POST", "/images/pull", Some(json!({ "image": reference })));
    assert_eq!(curl.get(&format!("/images/{}", encoded(&reference)))["name"], reference.as_str());
    curl.does("POST", "/images/import", Some(json!({ "source": reference, "name": "local/box:1" })));
    let imported = curl.names("/images", "images").into_iter().find(|name| *name != reference).unwrap();
    curl.does("DELETE", &format!("/images/{}", encoded(&imported)), None);
    assert_eq!(curl.names("/images", "images"), [reference]);

    curl.does("POST", "/kernels/pull", Some(json!({ "kernel": "debian" })));
    let kernel = bzimage(&curl.sandbox);
    curl.does("POST", "/kernels/import", Some(json!({ "name": "mine", "kernel": kernel })));
    assert_eq!(curl.get("/kernels/mine")["name"], "mine");
    curl.does("DELETE", "/kernels/mine", None);
    assert_eq!(curl.names("/kernels", "kernels"), ["debian"]);
    assert_eq!(curl.get("/operations")["operations"], json!([]));

    let checks = curl.get("/doctor");
    assert!(checks["checks"].as_array().unwrap().iter().any(|check| check["name"] == "QEMU"), "{checks}");
    let report = curl.does("POST", "/doctor", None);
    assert!(report["result"]["doctor"].to_string().contains("booted in"), "{report}");
    assert!(curl.get("/daemon")["pid"].is_u64());
    let stop = curl.call("POST", "/daemon/stop", None);
    curl.assert_all_asked(|word| !OF_VMS.contains(&word));
    stop.run().ok();
    wait_for("the daemon's end", || curl.sandbox.processes().is_empty().then_some(()));
}

#[test]
fn every_answer_has_the_operations_id_and_takes_the_callers() {
    let sandbox = Sandbox::new();
    sandbox.daemon_pid();
    for path in ["/vms", "/vms/nobody", "/no/such/route"] {
        let output = sandbox.api("GET", path, None).words("-i").run();
        assert!(output.ok().to_lowercase().contains("banger-op: op-"), "{output}");
    }
    let strange =
        sandbox.tool("curl").words("-sS -i --unix-socket").arg(sandbox.socket()).arg("http://localhost/v9/vms").run();
    assert!(
        strange.ok().to_lowercase().contains("banger-op: op-") && strange.ok().contains("unsupported-version"),
        "{strange}"
    );
    let first = sandbox.api("GET", "/vms", None).words("-i").run();
    let op = first.ok().to_lowercase().split("banger-op: ").nth(1).unwrap().lines().next().unwrap().trim().to_owned();
    let again = sandbox.api("GET", "/vms", None).words("-i -H").arg(format!("banger-op: {op}")).run();
    assert!(again.ok().to_lowercase().contains(&format!("banger-op: {op}")), "{again}");
}

#[test]
fn requests_that_make_no_sense_are_refused_in_json() {
    let sandbox = Sandbox::new();
    sandbox.daemon_pid();
    let refused = |output: Output, code: &str| {
        let body: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output}"));
        assert_eq!(body["code"], code, "{output}");
        assert!(body["op"].as_str().unwrap().starts_with("op-") && !body["message"].as_str().unwrap().is_empty());
    };
    refused(sandbox.api("GET", "/no/such/route", None).run(), "unknown-route");
    refused(sandbox.api("GET", "/vms/nobody", None).run(), "vm-not-found");
    refused(sandbox.api("POST", "/vms", Some(&json!({ "name": "../x" }))).run(), "bad-request");
    refused(sandbox.api("POST", "/vms", Some(&json!({ "memory": "much" }))).run(), "bad-request");
    refused(sandbox.api("POST", "/images/pull", Some(&json!({ "image": "ftp://x" }))).run(), "bad-request");
    refused(sandbox.api("POST", "/vms", None).run(), "bad-request");
    refused(sandbox.api("GET", "/kernels/nothing", None).run(), "kernel-not-found");
}

#[test]
fn the_api_describes_itself() {
    let sandbox = Sandbox::new();
    sandbox.daemon_pid();
    let document = sandbox.api("GET", "/openapi.json", None).run().json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."), "{document}");
    let paths = document["paths"].as_object().unwrap();
    for path in [
        "/v1/vms",
        "/v1/vms/{name}/exec",
        "/v1/images/pull",
        "/v1/kernels",
        "/v1/operations",
        "/v1/daemon",
        "/v1/doctor",
    ] {
        assert!(paths.contains_key(path), "{path}: {:?}", paths.keys());
    }
}
