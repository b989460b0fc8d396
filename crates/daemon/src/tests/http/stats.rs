//! What running VMs use.

use super::*;
use banger_model::api::error::ErrorCode;

#[tokio::test]
async fn what_a_running_vm_uses_and_that_others_use_nothing() {
    let api = Api::with_box().await;
    let stats = api.get("/v1/vms/box/stats?interval_ms=10").await.json();
    assert_eq!((&stats["name"], &stats["cpu"]["used_ms"]), (&"box".into(), &3000.into()));
    assert!(stats["cpu"]["percent"].is_number(), "{stats}");
    assert_eq!((&stats["disks"][0]["name"], &stats["disks"][0]["read"]), (&"image".into(), &4096.into()));
    assert!(stats.get("vsock").is_none() && stats["memory"].get("guest").is_none(), "what is not told is left out");
    let stats = api.get("/v1/vms/box/stats?interval_ms=0").await.json();
    assert!(stats["cpu"].get("percent").is_none(), "{stats}");

    assert_eq!(api.get("/v1/vms/box/stats?interval_ms=soon").await.error().code, ErrorCode::BadRequest);
    assert_eq!(api.get("/v1/vms/bix/stats").await.error().code, ErrorCode::VmNotFound);
    act(&api.app, Verb::Kill).await.unwrap();
    let error = api.get("/v1/vms/box/stats").await.error();
    assert_eq!((error.code, error.message.as_str()), (ErrorCode::VmStatus, "box is not running: it is stopped"));
}
