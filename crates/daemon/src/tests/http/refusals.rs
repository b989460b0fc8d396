//! Requests that come to nothing, and the API's description of itself.

use super::*;
use banger_model::{
    OpId,
    api::{EXEC_PROTOCOL, error::ErrorCode},
};
use std::collections::BTreeSet;

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn every_refusal_has_a_code_and_the_operations_id() {
    let api = Api::new().await;
    let large = "x".repeat(17 << 20);
    let create = "POST /v1/vms";
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, u16, ErrorCode);
    let cases: [Case<'_>; 22] = [
        ("GET /", &[], "", 404, ErrorCode::UnknownRoute),
        ("GET /v1", &[], "", 404, ErrorCode::UnknownRoute),
        ("GET /v1/nothing/here", &[], "", 404, ErrorCode::UnknownRoute),
        ("GET /v2/vms", &[], "", 400, ErrorCode::UnsupportedVersion),
        ("POST /v0", &[], "", 400, ErrorCode::UnsupportedVersion),
        ("GET /vx/vms", &[], "", 404, ErrorCode::UnknownRoute),
        ("PATCH /v1/vms", &[], "", 405, ErrorCode::UnknownRoute),
        (create, &[JSON], "{", 400, ErrorCode::BadRequest),
        (create, &[JSON], r#"{"vcpu":"many"}"#, 400, ErrorCode::BadRequest),
        (create, &[JSON], r#"{"name":"../x"}"#, 400, ErrorCode::BadRequest),
        (create, &[JSON], "\u{fffd}\0", 400, ErrorCode::BadRequest),
        (create, &[], "{}", 415, ErrorCode::BadRequest),
        (create, &[("content-type", "text/html")], "{}", 415, ErrorCode::BadRequest),
        (create, &[JSON], &large, 413, ErrorCode::BadRequest),
        (create, &[JSON, (OP_HEADER, "mine")], "{}", 400, ErrorCode::BadRequest),
        ("GET /v1/vms/box", &[], "", 404, ErrorCode::VmNotFound),
        ("GET /v1/vms/..%2F..%2Fetc", &[], "", 404, ErrorCode::VmNotFound),
        ("GET /v1/vms/%ff", &[], "", 400, ErrorCode::BadRequest),
        ("GET /v1/vms/box/logs?boot=x", &[], "", 400, ErrorCode::BadRequest),
        ("GET /v1/images/none%2Fhere:1", &[], "", 404, ErrorCode::ImageNotFound),
        ("GET /v1/kernels/none", &[], "", 404, ErrorCode::KernelNotFound),
        ("DELETE /v1/operations/op-0000000000000000", &[], "", 404, ErrorCode::BadRequest),
    ];
    for (what, headers, body, status, code) in cases {
        let answer = api.ask(what, headers, body.to_owned()).await;
        let error = answer.error();
        assert_eq!((answer.status.as_u16(), error.code), (status, code), "{what}: {error:?}");
        assert!(!error.message.is_empty() && error.message.len() < 400, "{what}: {error:?}");
    }
    let answer = api.ask("PATCH /v1/vms", &[], "").await;
    assert!(answer.headers["allow"].to_str().unwrap().contains("POST"));
}

#[tokio::test]
async fn causes_do_not_repeat_each_other() {
    let error = Api::new().await.ask("POST /v1/vms", &[JSON], r#"{"vcpu":"many"}"#).await.error();
    assert_eq!(error.causes.len(), 1, "{error:?}");
    assert!(error.causes[0].contains("vcpu"), "{error:?}");
}

#[tokio::test]
async fn a_client_may_choose_the_operations_id() {
    let api = Api::new().await;
    let op = OpId::from_entropy([9; 16]).to_string();
    for what in ["GET /v1/vms", "GET /v9/vms", "POST /v1/vms/box/start"] {
        let answer = api.ask(what, &[(OP_HEADER, &op)], "").await;
        assert_eq!(answer.headers[OP_HEADER], op, "{what}");
        assert_eq!(answer.headers[banger_model::api::VERSION_HEADER], env!("CARGO_PKG_VERSION"), "{what}");
    }
    let (one, other) = (api.get("/v1/vms").await, api.get("/v1/vms").await);
    assert_ne!(one.headers[OP_HEADER], other.headers[OP_HEADER]);
}

#[tokio::test]
async fn a_command_needs_a_vm_that_runs() {
    let api = Api::new().await;
    arrange(&api.app, Target::Stopped).await;
    for headers in [vec![JSON], vec![JSON, ("connection", "upgrade"), ("upgrade", EXEC_PROTOCOL)]] {
        let answer = api.ask("POST /v1/vms/box/exec", &headers, r#"{"argv":["true"]}"#).await;
        let error = answer.error();
        assert_eq!((answer.status.as_u16(), error.code), (409, ErrorCode::VmStatus));
        assert!(error.message.contains("box is not running: it is stopped"), "{error:?}");
        assert!(error.fix.unwrap().contains("banger vm start box"));
    }
    assert_eq!(api.get("/v1/vms/box/files?path=/x").await.error().code, ErrorCode::VmStatus);
}

/// The contract's table, route by route: a route that is added, lost or renamed shows here.
#[tokio::test]
async fn the_description_has_the_contracts_routes() {
    let api = Api::new().await;
    let document = api.get("/v1/openapi.json").await.json();
    let described: BTreeSet<String> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(move |method| format!("{method} {path}")))
        .collect();
    let contract = [
        "get /daemon",
        "post /daemon/stop",
        "get /doctor",
        "post /doctor",
        "get /openapi.json",
        "get /vms",
        "post /vms",
        "get /vms/{name}",
        "delete /vms/{name}",
        "post /vms/{name}/start",
        "post /vms/{name}/stop",
        "post /vms/{name}/restart",
        "post /vms/{name}/kill",
        "post /vms/{name}/exec",
        "get /vms/{name}/files",
        "put /vms/{name}/files",
        "get /vms/{name}/logs",
        "get /vms/{name}/stats",
        "get /prune",
        "get /images",
        "post /images/pull",
        "post /images/import",
        "get /images/{reference}",
        "delete /images/{reference}",
        "get /kernels",
        "post /kernels/pull",
        "post /kernels/import",
        "get /kernels/{name}",
        "delete /kernels/{name}",
        "get /operations",
        "delete /operations/{op}",
        "get /operations/{op}/log",
    ];
    let contract: BTreeSet<String> = contract.iter().map(|route| route.replace(" /", " /v1/")).collect();
    assert_eq!(described, contract);
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for name in ["CreateVm", "VmView", "OpEvent", "ErrorBody", "ExecRequest", "ExecEvent", "ImageView", "DoctorReport"]
    {
        assert!(schemas.contains_key(name), "{name}");
    }
    // Every reference leads somewhere.
    let text = document.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(schemas.contains_key(reference), "{reference}");
    }
}
