//! The log: every record that is made on behalf of an operation says so, on whichever task or thread, and no other does.
//!
//! The log is one for a whole process, so each of these runs in a process of its own, as the daemon does.

use super::{http::Api, *};
use crate::task;
use banger_model::{OpId, api::OP_HEADER};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};
use tracing::Instrument;

/// Says that this process is one of its own.
const ALONE: &str = "BANGER_TEST_ALONE";

/// Runs the test of that name in another process, unless this is it. False when it has been run.
fn alone(name: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let test = format!("{}::{name}", module_path!().split_once("::").unwrap().1);
    let ran = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &test, "--nocapture"])
        .env(ALONE, "1")
        .env("BANGER_LOG", "debug")
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
    false
}

/// The whole log, a record a line.
fn records(app: &App) -> Vec<Value> {
    let log = fs::read_to_string(app.paths.log()).unwrap();
    log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no record: {line}"))).collect()
}

/// The operations that a record says it belongs to.
fn operations(record: &Value) -> BTreeSet<&str> {
    [&record["span"]["op"], &record["op"]].into_iter().filter_map(Value::as_str).collect()
}

fn op(n: u8) -> OpId {
    OpId::from_entropy([n; 16])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_starts_at_once_are_told_apart_line_by_line() {
    if !alone("two_starts_at_once_are_told_apart_line_by_line") {
        return;
    }
    let api = Api::logging(crate::lifecycle::begin_log).await;
    let ops = [("one", op(1)), ("two", op(2))];
    for (vm, _) in ops {
        let (cx, _events) = begin(&api.app);
        create(&api.app, Some(vm), false, &cx).await.unwrap();
    }
    let begun = records(&api.app).len();
    let ids: BTreeMap<_, _> =
        api.app.db.vms().await.unwrap().into_iter().map(|vm| (vm.name.to_string(), vm.id.to_string())).collect();
    let start = |(vm, op): (&'static str, OpId)| {
        let api = &api;
        async move { api.ask(&format!("POST /v1/vms/{vm}/start"), &[(OP_HEADER, &op.to_string())], "").await }
    };
    let (one, two) = tokio::join!(start(ops[0]), start(ops[1]));
    for (answer, (_, op)) in [one, two].iter().zip(ops) {
        assert_eq!(answer.headers[OP_HEADER], op.to_string());
        assert_eq!(answer.lines()[0]["op"], op.to_string());
        assert_eq!(answer.lines().last().unwrap()["event"], "done");
    }
    let all = records(&api.app);
    let settled = all.iter().rposition(|record| record["message"] == "operation succeeded").unwrap();
    let between = &all[begun..=settled];
    assert!(between.len() > 20, "{between:#?}");
    let mut count = BTreeMap::<&str, usize>::new();
    for record in between {
        let named = operations(record);
        // Whoever watches a VM that has come up does so on its own behalf.
        let [named] = named.iter().copied().collect::<Vec<_>>()[..] else { panic!("not one operation: {record}") };
        let vm = ops.iter().find(|(_, op)| op.to_string() == named);
        let (vm, _) = vm.unwrap_or_else(|| panic!("of another operation: {record}"));
        *count.entry(vm).or_default() += 1;
        // What names a VM names its own.
        let other = ids.iter().find(|(name, _)| name != vm).unwrap();
        let text = record.to_string();
        assert!(!text.contains(other.1) && !text.contains(&format!("vms/{}", other.0)), "{vm}: {record}");
    }
    assert!(count.len() == 2 && count.values().all(|count| *count > 10), "{count:?}");
    // And so `debug` tells all of one, and nothing of the other.
    for (vm, op) in ops {
        let told = api.get(&format!("/v1/operations/{op}/log")).await.json();
        let told = told["records"].as_array().unwrap().clone();
        let times: Vec<_> = told.iter().map(|record| record["timestamp"].as_str().unwrap()).collect();
        assert!(times.is_sorted());
        let of_it = between.iter().filter(|record| operations(record).contains(&*op.to_string())).count();
        assert!(told.len() >= of_it && of_it == count[vm], "{} of {of_it}", told.len());
    }
}

/// Every refusal's id leads to a record that says what was refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_early_is_in_the_log_under_its_operation() {
    if !alone("what_is_refused_early_is_in_the_log_under_its_operation") {
        return;
    }
    let api = Api::logging(crate::lifecycle::begin_log).await;
    let json = ("content-type", "application/json");
    let mut told = Vec::new();
    for (what, headers, body) in [
        ("GET /v9/vms", &[][..], String::new()),
        ("GET /v1/nothing", &[], String::new()),
        ("PATCH /v1/vms", &[], String::new()),
        ("POST /v1/vms", &[json], "{".into()),
        ("POST /v1/vms", &[json], "x".repeat(17 << 20)),
        ("POST /v1/vms", &[json, (OP_HEADER, "mine")], "{}".into()),
        ("GET /v1/vms/nobody", &[], String::new()),
    ] {
        let error = api.ask(what, headers, body).await.error();
        told.push((error.op.unwrap().to_string(), error.message));
    }
    for (bytes, half_close) in [("nonsense\r\n\r\n", false), ("GET /v1/v", true)] {
        let (_, error) = http::early::refusal(&api.raw(bytes, half_close).await);
        told.push((error.op.unwrap().to_string(), error.message));
    }
    for (name, request) in [("start", "POST /v1/vms/nobody/start"), ("pull", "POST /v1/images/pull")] {
        let body = if name == "pull" { json!({ "image": "rootfs:/nowhere.tar" }).to_string() } else { String::new() };
        let failed = api.ask(request, &[json], body).await.lines().pop().unwrap();
        let error = &failed["error"];
        told.push((error["op"].as_str().unwrap().to_owned(), error["message"].as_str().unwrap().to_owned()));
    }
    // A client that is gone before its body has come is told nothing; the log has it all the same.
    let gone = op(9).to_string();
    let head = format!("POST /v1/vms HTTP/1.1\r\nhost: x\r\n{OP_HEADER}: {gone}\r\ncontent-type: application/json\r\n");
    api.leave(format!("{head}content-length: 9\r\n\r\n{{")).await;
    let all = async {
        loop {
            let records = records(&api.app);
            if records.iter().any(|record| operations(record).contains(&*gone)) {
                return records;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let all = tokio::time::timeout(BOUND, all).await.expect("nothing is logged of a client that left");
    for (op, message) in told {
        let of_it = |record: &&Value| operations(record).contains(&*op) && record["error"] == message.as_str();
        assert!(all.iter().any(|record| of_it(&record)), "{op} ({message}) is not in {all:#?}");
    }
    for record in &all {
        assert_eq!(operations(record).len(), 1, "{record}");
    }
}

/// What an operation begins elsewhere, on whichever task or thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operation_begins_elsewhere_is_logged_as_its_own() {
    if !alone("what_an_operation_begins_elsewhere_is_logged_as_its_own") {
        return;
    }
    let bench = Bench::new();
    let app = bench.daemon();
    crate::lifecycle::begin_log(&app.paths).unwrap();
    let (told, heard) = tokio::sync::oneshot::channel();
    let beginning = async {
        let nested = || task::block_on(task::blocking(|| tracing::info!("on a thread of a thread")));
        task::blocking(move || nested().map(|()| tracing::info!("on a thread"))).await.unwrap().unwrap();
        task::spawn(async move {
            tracing::info!("in a task");
            told.send(()).unwrap();
        });
    };
    beginning.instrument(tracing::info_span!("request", op = %op(5))).await;
    heard.await.unwrap();
    let all = records(&app);
    for message in ["on a thread of a thread", "on a thread", "in a task"] {
        let record = all.iter().find(|record| record["message"] == message).unwrap_or_else(|| panic!("{all:#?}"));
        assert_eq!(operations(record), BTreeSet::from([&*op(5).to_string()]), "{record}");
    }
}
