//! The daemon about itself.

use super::error::Failure;
use crate::App;
use axum::{Json, extract::State};
use banger_model::{
    api::{API_PREFIX, daemon::DaemonInfo, error::ErrorBody},
    vm::Status,
};
use std::sync::Arc;

/// What the daemon is and where it keeps things.
#[utoipa::path(
    get, path = "/daemon", tag = "host",
    responses((status = 200, body = DaemonInfo), (status = "default", body = ErrorBody)),
)]
pub(super) async fn show(State(app): State<Arc<App>>) -> Result<Json<DaemonInfo>, Failure> {
    let vms = app.db.vms().await?;
    let running = vms.iter().filter(|vm| app.status(vm) == Status::Running).count();
    Ok(Json(DaemonInfo {
        version: env!("CARGO_PKG_VERSION").into(),
        api: vec![API_PREFIX.trim_start_matches('/').into()],
        pid: std::process::id(),
        started_ms: app.started_ms,
        socket: app.paths.socket(),
        log: app.paths.log(),
        data_dir: app.paths.data.clone(),
        state_dir: app.paths.state.clone(),
        config: app.paths.config.clone(),
        vms: vms.len() as u64,
        running: running as u64,
    }))
}

/// Ends the daemon once what is under way has ended or been undone. VMs go on running.
#[utoipa::path(
    post, path = "/daemon/stop", tag = "host",
    responses((status = 200, description = "It is about to end", body = DaemonInfo), (status = "default", body = ErrorBody)),
)]
pub(super) async fn stop(State(app): State<Arc<App>>) -> Result<Json<DaemonInfo>, Failure> {
    let info = show(State(Arc::clone(&app))).await?;
    // The answer is written by a connection that outlives this: a stop lets answers under way end.
    app.shutdown.cancel();
    Ok(info)
}
