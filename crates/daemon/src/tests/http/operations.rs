//! Operations and their events, images, kernels and the daemon itself.

use super::*;
use crate::host::fake::{Effect, Fault, How, When};
use crate::resource::Resource;
use banger_model::api::error::ErrorCode;
use serde_json::json;

#[tokio::test]
async fn a_run_tells_what_it_does_and_leaves_a_vm() {
    let api = Api::new().await;
    let answer = api.post("/v1/vms", json!({ "name": "box", "start": true, "memory": 134_217_728 })).await;
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    let events = answer.lines();
    assert_eq!(
        events[0],
        json!({ "event": "begun", "op": answer.headers[OP_HEADER].to_str().unwrap(), "what": "run box" })
    );
    assert_eq!(events[1]["event"], "plan");
    let stages: Vec<_> = events.iter().filter_map(|event| event["stage"].as_str()).collect();
    assert!(stages.ends_with(&["vmm", "network", "boot"]), "{stages:?}");
    assert_eq!(events.last().unwrap()["result"]["vm"]["status"], "running");
    assert_eq!(api.get("/v1/vms/box").await.json()["running"]["vmm"], "qemu");
    assert_eq!(api.get("/v1/vms").await.json()["vms"].as_array().unwrap().len(), 1);
    assert_eq!(api.get("/v1/daemon").await.json()["running"], 1);
    let last = |answer: Answer| answer.lines().pop().unwrap();
    let refused = last(api.ask("DELETE /v1/vms/box", &[], "").await);
    assert_eq!((&refused["event"], &refused["error"]["code"]), (&json!("failed"), &json!("vm-status")));
    assert_eq!(last(api.ask("DELETE /v1/vms/box?force=true", &[], "").await), json!({ "event": "done" }));
    api.bench.assert_settled(&api.app).await;
}

#[tokio::test]
async fn a_tied_vm_lives_as_long_as_the_request() {
    let api = Api::new().await;
    let body = json!({ "name": "box", "start": true, "rm": true, "memory": 134_217_728 }).to_string();
    let answer = api.send("POST /v1/vms", &[("content-type", "application/json")], body).await;
    let mut body = answer.into_body();
    let mut seen = String::new();
    while !seen.contains("\"done\"") {
        let frame = tokio::time::timeout(BOUND, body.frame()).await.expect("no event").expect("an end").unwrap();
        seen.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
    }
    assert_eq!(api.get("/v1/vms/box").await.json()["rm"], true);
    drop(body);
    until(&api.app, |vm| vm.is_none()).await;
    api.bench.assert_settled(&api.app).await;
}

#[tokio::test]
async fn a_tied_vm_goes_with_the_daemon() {
    let api = Api::new().await;
    arrange(&api.app, Target::Running).await;
    let body = json!({ "name": "tied", "start": true, "rm": true, "memory": 134_217_728 }).to_string();
    let answer = api.send("POST /v1/vms", &[("content-type", "application/json")], body).await;
    let there = async || api.app.db.vm_named(&name("tied")).await.unwrap().map(|vm| vm.target);
    while there().await != Some(Target::Running) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    api.ask("POST /v1/daemon/stop", &[], "").await;
    // The answer ends once nothing of it is left.
    tokio::time::timeout(BOUND, answer.into_body().collect()).await.expect("it holds up the end").unwrap();
    assert_eq!(there().await, None);
    assert_eq!(api.app.named(&name("box")).await.unwrap().target, Target::Running);
}

#[tokio::test]
async fn a_tied_vm_that_never_became_ready_is_kept_unless_nobody_wants_it() {
    let api = Api::new().await;
    let create = json!({ "name": "box", "start": true, "rm": true, "memory": 134_217_728 });
    api.bench.world.plant(Fault { effect: Effect::Boot, when: When::Before, how: How::Fails });
    let failed = api.post("/v1/vms", create.clone()).await.lines().pop().unwrap();
    assert_eq!(failed["error"]["code"], "boot-failed");
    assert_eq!(failed["error"]["console"], json!(["last words"]));
    let vm = api.get("/v1/vms/box").await.json();
    assert_eq!((&vm["status"], &vm["rm"]), (&json!("stopped"), &Value::Null));
    act(&api.app, Verb::Delete).await.unwrap();

    api.bench.world.plant(Fault { effect: Effect::Boot, when: When::Before, how: How::Hangs });
    let op = banger_model::OpId::from_entropy([3; 16]).to_string();
    let headers = [("content-type", "application/json"), (OP_HEADER, op.as_str())];
    let (answer, ()) = tokio::join!(api.ask("POST /v1/vms", &headers, create.to_string()), async {
        api.bench.world.reached.notified().await;
        let open = api.get("/v1/operations").await.json();
        assert_eq!(open["operations"][0]["stage"]["stage"], "boot", "{open}");
        let told = api.ask(&format!("DELETE /v1/operations/{op}"), &[], "").await;
        assert_eq!(told.status, StatusCode::NO_CONTENT);
    });
    let told = answer.lines();
    assert_eq!(told.last().unwrap()["error"]["code"], "cancelled");
    let note = json!({ "event": "note", "text": "cancelled: nothing is left of box" });
    assert_eq!(told[told.len() - 2], note, "{told:?}");
    until(&api.app, |vm| vm.is_none()).await;
    api.bench.assert_settled(&api.app).await;
}

#[tokio::test]
async fn who_cancels_a_create_is_told_what_is_left() {
    let api = Api::new().await;
    for (seed, asked, what) in [(4, Some("box"), "box"), (5, None, "the VM")] {
        let (op, app) = (banger_model::OpId::from_entropy([seed; 16]), Arc::clone(&api.app));
        api.bench.world.on_cancel(move || assert!(app.operations.cancel(op)));
        let effect = Effect::Ensure(Resource::Layer);
        api.bench.world.plant(Fault { effect, when: When::Before, how: How::Cancelled });
        let op = op.to_string();
        let headers = [("content-type", "application/json"), (OP_HEADER, op.as_str())];
        let told = api.ask("POST /v1/vms", &headers, json!({ "name": asked }).to_string()).await.lines();
        assert_eq!(told.last().unwrap()["error"]["code"], "cancelled", "{told:?}");
        let note = json!({ "event": "note", "text": format!("cancelled: nothing is left of {what}") });
        assert_eq!(told[told.len() - 2], note, "{told:?}");
        assert_eq!(api.get("/v1/vms").await.json()["vms"], json!([]));
        api.bench.assert_settled(&api.app).await;
    }
}

#[tokio::test]
async fn an_image_or_kernel_in_use_is_not_deleted() {
    let api = Api::new().await;
    arrange(&api.app, Target::Stopped).await;
    let image = format!("/v1/images/{}", store::IMAGE);
    for path in [image.as_str(), "/v1/kernels/debian"] {
        assert_eq!(api.get(path).await.json()["used_by"], json!(["box"]), "{path}");
        let refused = api.ask(&format!("DELETE {path}"), &[], "").await.lines().pop().unwrap();
        let error: ErrorBody = serde_json::from_value(refused["error"].clone()).unwrap();
        assert_eq!((error.code, error.vms), (ErrorCode::InUse, vec![name("box")]), "{path}");
    }
    act(&api.app, Verb::Delete).await.unwrap();
    for path in [image.as_str(), "/v1/kernels/debian"] {
        assert_eq!(
            api.ask(&format!("DELETE {path}"), &[], "").await.lines().pop().unwrap(),
            json!({ "event": "done" })
        );
        assert_eq!(api.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    // What the catalog has can still be seen.
    let kernels = api.get("/v1/kernels").await.json();
    assert_eq!(kernels["kernels"][0]["name"], "debian");
    assert!(kernels["kernels"][0].get("digest").is_none());
    assert_eq!(api.get("/v1/images").await.json(), json!({ "images": [] }));
}

#[tokio::test]
async fn an_import_takes_absolute_paths_only() {
    let api = Api::new().await;
    let error = api.post("/v1/kernels/import", json!({ "name": "mine", "kernel": "vmlinux" })).await.error();
    assert_eq!(error.code, ErrorCode::BadRequest);
    let failed = api.post("/v1/kernels/import", json!({ "name": "mine", "kernel": "/no/such" })).await.lines().pop();
    assert_eq!(failed.unwrap()["error"]["code"], "bad-request");
}

#[tokio::test]
async fn a_full_disk_is_told_from_other_trouble() {
    let api = Api::new().await;
    let effect = Effect::Ensure(Resource::WorkDisk);
    api.bench.world.plant(Fault { effect, when: When::Before, how: How::Fails });
    let failed = api.post("/v1/vms", json!({ "name": "box", "memory": 134_217_728 })).await.lines().pop().unwrap();
    assert_eq!(failed["error"]["code"], "internal");
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    let error = crate::host::HostError::File { resource: Resource::Layer, path: "/x".into(), source: full };
    let failure = crate::api::Failure::from(VerbError::Host { verb: Verb::Create, name: name("box"), source: error });
    let (status, body) = crate::api::body_of(&failure, crate::clock::new_op());
    assert_eq!((status.as_u16(), body.code), (507, ErrorCode::NoRoom));
}

#[tokio::test]
async fn a_stop_is_answered_before_the_end() {
    let api = Api::with_box().await;
    assert_eq!(api.ask("POST /v1/daemon/stop", &[], "").await.json()["running"], 1);
    assert!(api.app.shutdown.is_cancelled());
}

#[tokio::test]
async fn the_host_is_examined() {
    let api = Api::new().await;
    let report = api.get("/v1/doctor").await.json();
    let names: Vec<_> =
        report["checks"].as_array().unwrap().iter().map(|check| check["name"].as_str().unwrap()).collect();
    for name in ["configuration", "data folder", "memory", "/dev/kvm", "QEMU", "guest agent", "mmdebstrap", "apt"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let events = api.ask("POST /v1/doctor", &[], "").await.lines();
    let told = events.iter().filter(|event| event["event"] == "check").count();
    let all = events.last().unwrap()["result"]["doctor"]["checks"].as_array().unwrap();
    assert_eq!(told, all.len());
    assert_eq!(all.last().unwrap()["name"], "throwaway VM");
    api.bench.assert_settled(&api.app).await;
    assert!(api.app.db.vms().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_log_of_an_operation_is_told() {
    let api = Api::new().await;
    let op = crate::clock::new_op();
    let line = json!({ "timestamp": "2026-01-01T00:00:00Z", "message": "hello", "span": { "op": op } });
    std::fs::write(api.app.paths.log(), format!("{line}\n")).unwrap();
    let log = api.get(&format!("/v1/operations/{op}/log")).await.json();
    assert_eq!((&log["records"][0]["message"], &log["records"][0]["process"]), (&json!("hello"), &json!("bangerd")));
    let other = crate::clock::new_op();
    assert_eq!(api.get(&format!("/v1/operations/{other}/log")).await.json(), json!({ "records": [] }));
    api.get("/v1/operations/nonsense/log").await.error();
}

#[tokio::test]
async fn a_prune_lists_what_is_stopped_and_hits_no_other() {
    let api = Api::with_box().await;
    assert_eq!(api.get("/v1/prune").await.json(), json!({ "vms": [] }), "a VM that runs is no candidate");
    let delete = |query: String| {
        let api = &api;
        async move { api.ask(&format!("DELETE /v1/vms/box?{query}"), &[], "").await.lines().pop().unwrap() }
    };
    api.ask("POST /v1/vms/box/stop", &[], "").await;
    let listed = api.get("/v1/prune").await.json()["vms"][0].clone();
    assert_eq!((&listed["name"], &listed["used"]), (&json!("box"), &json!(4096)));
    assert_eq!(delete("id=0123456789ab".into()).await["error"]["code"], "vm-not-found", "another VM of that name");
    let id = listed["id"].as_str().unwrap().to_owned();
    api.ask("POST /v1/vms/box/start", &[], "").await;
    assert_eq!(delete(format!("id={id}")).await["error"]["code"], "vm-status", "it was put to use meanwhile");
    api.ask("POST /v1/vms/box/stop", &[], "").await;
    assert_eq!(delete(format!("id={id}")).await["event"], "done");
    assert_eq!(api.get("/v1/vms").await.json()["vms"], json!([]));
}

#[tokio::test]
async fn a_pull_of_what_is_here_says_so() {
    let api = Api::new().await;
    let events = api.post("/v1/images/pull", json!({ "image": store::IMAGE })).await.lines();
    assert_eq!(events[1], json!({ "event": "note", "text": format!("{} is already here", store::IMAGE) }));
    assert_eq!(events.last().unwrap()["result"]["image"]["name"], store::IMAGE);
}
