//! What is under way.

use super::{error::Failure, extract::Path};
use crate::{
    App,
    logbook::{self, Log},
};
use axum::{Json, extract::State, http::StatusCode};
use banger_model::{
    OpId,
    api::{
        error::ErrorBody,
        op::{OpLog, OperationList},
    },
};
use std::sync::Arc;

/// All operations that are open, oldest first.
#[utoipa::path(get, path = "/operations", tag = "host", responses((status = 200, body = OperationList)))]
pub(super) async fn list(State(app): State<Arc<App>>) -> Json<OperationList> {
    Json(OperationList { operations: app.operations.list() })
}

/// Tells an operation to end. What it has built up is undone; what takes down goes on.
#[utoipa::path(
    delete, path = "/operations/{op}", tag = "host",
    params(("op" = String, Path, description = "The operation's id")),
    responses((status = 204, description = "It has been told"), (status = "default", body = ErrorBody)),
)]
pub(super) async fn cancel(State(app): State<Arc<App>>, Path(op): Path<String>) -> Result<StatusCode, Failure> {
    let op: OpId = op.parse().map_err(|error| Failure::bad("operation id", error))?;
    match app.operations.cancel(op) {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Failure::NoOperation { op }),
    }
}

/// What was logged for an operation, open or long over, in time order. Logs are bounded, so the oldest are forgotten.
#[utoipa::path(
    get, path = "/operations/{op}/log", tag = "host",
    params(("op" = String, Path, description = "The operation's id")),
    responses((status = 200, body = OpLog), (status = "default", body = ErrorBody)),
)]
pub(super) async fn log(State(app): State<Arc<App>>, Path(op): Path<String>) -> Result<Json<OpLog>, Failure> {
    let op: OpId = op.parse().map_err(|error| Failure::bad("operation id", error))?;
    let read = move || {
        let own = [app.paths.older_log(), app.paths.log()];
        let mut logs: Vec<_> = own.map(|path| Log { process: "bangerd".into(), path }).into();
        logs.extend(app.host.logs());
        logbook::of(op, &logs)
    };
    let log = tokio::task::spawn_blocking(read).await.map_err(|_| Failure::ShuttingDown)?;
    log.map(Json).map_err(|source| Failure::Log { source })
}
