//! The API by way of `curl --unix-socket`: everything that the command line does, without it.

use banger_e2e::{Output, Sandbox, fixture::image};
use serde_json::{Value, json};

/// The events of an operation; the last one must be `done`.
fn done(output: &Output) -> Value {
    let last = output.ok().lines().last().unwrap_or_else(|| panic!("no events: {output}"));
    let event: Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("{output}"));
    assert_eq!(event["event"], "done", "{output}");
    event
}

#[test]
fn a_vm_from_create_to_delete_without_the_command_line() {
    let sandbox = Sandbox::new();
    sandbox.daemon_pid();
    let body = json!({ "name": "box", "image": image::busybox_reference(), "start": true });
    let create = sandbox.api("POST", "/vms", Some(&body)).run();
    assert_eq!(done(&create)["result"]["vm"]["status"], "running");
    let exec = json!({ "argv": ["sh", "-c", "cat; echo err >&2; exit 37"], "stdin": "aGkK" });
    let output = sandbox.api("POST", "/vms/box/exec", Some(&exec)).run();
    let events: Vec<Value> = output.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.contains(&json!({ "stdout": "aGkK" })), "{output}");
    assert!(events.contains(&json!({ "stderr": "ZXJyCg==" })), "{output}");
    assert!(events.last().unwrap()["exit"].to_string().contains("37"), "{output}");
    assert_eq!(sandbox.api("GET", "/vms/box", None).run().json()["name"], "box");
    assert_eq!(sandbox.api("GET", "/vms", None).run().json()["vms"][0]["name"], "box");
    assert!(!sandbox.api("GET", "/vms/box/logs", None).run().ok().is_empty());
    let files = sandbox.api("GET", "/vms/box/files?path=/root/.seeded", None).run();
    assert!(files.stdout.contains("from the image"), "{files}");
    done(&sandbox.api("POST", "/vms/box/restart", None).run());
    done(&sandbox.api("POST", "/vms/box/stop", None).run());
    done(&sandbox.api("DELETE", "/vms/box", None).run());
    sandbox.assert_no_vm_left();
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

#[test]
fn images_and_kernels_have_their_routes() {
    let sandbox = Sandbox::new();
    sandbox.daemon_pid();
    let reference = image::busybox_reference();
    done(&sandbox.api("POST", "/images/pull", Some(&json!({ "image": reference }))).run());
    let encoded = reference.replace(':', "%3A").replace('/', "%2F");
    assert_eq!(sandbox.api("GET", &format!("/images/{encoded}"), None).run().json()["name"], reference.as_str());
    assert_eq!(sandbox.api("GET", "/kernels/debian", None).run().json()["name"], "debian");
    let names = sandbox.api("GET", "/kernels", None).run().json();
    assert!(names["kernels"].as_array().unwrap().iter().any(|kernel| kernel["name"] == "debian"), "{names}");
    assert_eq!(sandbox.api("GET", "/operations", None).run().json()["operations"], json!([]));
    assert!(sandbox.api("GET", "/daemon", None).run().json()["pid"].is_u64());
}
