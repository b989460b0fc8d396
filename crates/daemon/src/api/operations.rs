//! What is under way.

use super::{error::Failure, extract::Path};
use crate::App;
use axum::{Json, extract::State, http::StatusCode};
use banger_model::{
    OpId,
    api::{error::ErrorBody, op::OperationList},
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
