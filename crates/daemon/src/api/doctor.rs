//! The examination of this host over HTTP.

use super::{
    events::{self, Outcome},
    op_id::Op,
};
use crate::{App, doctor, verbs::VerbError};
use axum::{Json, extract::State, response::Response};
use banger_model::api::{
    doctor::{Check, DoctorReport},
    error::ErrorBody,
    op::{OpEvent, OpResult},
};
use std::sync::Arc;

/// Whether this host has what VMs need, as far as can be told without booting one.
#[utoipa::path(
    get, path = "/doctor", tag = "host",
    responses((status = 200, body = DoctorReport), (status = "default", body = ErrorBody)),
)]
pub(super) async fn look(State(app): State<Arc<App>>) -> Json<DoctorReport> {
    let mut checks = Vec::new();
    doctor::look(&app, &mut |check| checks.push(check)).await;
    Json(DoctorReport { checks })
}

/// Whether this host has what VMs need, at the end by booting one. Each finding is an event.
#[utoipa::path(
    post, path = "/doctor", tag = "host",
    responses((status = 200, content_type = "application/x-ndjson", body = OpEvent), (status = "default", body = ErrorBody)),
)]
pub(super) async fn examine(State(app): State<Arc<App>>, op: Op) -> Response {
    events::run(&app, op.0, "examine this host".into(), |app, cx| async move {
        let mut checks: Vec<Check> = Vec::new();
        doctor::look(&app, &mut |check| {
            cx.check(check.clone());
            checks.push(check);
        })
        .await;
        for check in doctor::boot(&app, &cx).await.map_err(VerbError::from)? {
            cx.check(check.clone());
            checks.push(check);
        }
        Ok(Outcome::from(OpResult::Doctor(DoctorReport { checks })))
    })
}
