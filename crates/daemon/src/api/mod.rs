//! The API: HTTP/1.1 with JSON over a Unix socket. One file a kind of thing; `banger_model::api` holds the contract.
//!
//! Handlers translate and nothing else: every decision is a verb's.

mod daemon;
mod doctor;
mod error;
mod events;
mod exec;
mod files;
mod images;
mod kernels;
mod logs;
mod openapi;
mod operations;
mod op_id;
mod vms;

pub(crate) use error::{Failure, body_of};

use crate::App;
use axum::{
    Router,
    routing::{any, delete, get, post},
};
use std::sync::Arc;

/// All routes.
pub(crate) fn router(app: Arc<App>) -> Router {
    let v1 = Router::new()
        .route("/daemon", get(daemon::show))
        .route("/daemon/stop", post(daemon::stop))
        .route("/doctor", get(doctor::show))
        .route("/openapi.json", get(openapi::show))
        .route("/vms", get(vms::list).post(vms::create))
        .route("/vms/{name}", get(vms::show).delete(vms::delete))
        .route("/vms/{name}/start", post(vms::start))
        .route("/vms/{name}/stop", post(vms::stop))
        .route("/vms/{name}/kill", post(vms::kill))
        .route("/vms/{name}/restart", post(vms::restart))
        .route("/vms/{name}/exec", post(exec::exec))
        .route("/vms/{name}/files", get(files::copy_out).put(files::copy_in))
        .route("/vms/{name}/logs", get(logs::show))
        .route("/images", get(images::list))
        .route("/images/pull", post(images::pull))
        .route("/images/import", post(images::import))
        .route("/images/{reference}", get(images::show).delete(images::delete))
        .route("/kernels", get(kernels::list))
        .route("/kernels/pull", post(kernels::pull))
        .route("/kernels/import", post(kernels::import))
        .route("/kernels/{name}", get(kernels::show).delete(kernels::delete))
        .route("/operations", get(operations::list))
        .route("/operations/{op}", delete(operations::cancel));
    Router::new()
        .nest(banger_model::api::API_PREFIX, v1)
        .route("/{version}/{*rest}", any(error::unknown_route))
        .fallback(error::unknown_route)
        .method_not_allowed_fallback(error::unknown_route)
        .layer(axum::middleware::from_fn(op_id::attach))
        .with_state(app)
}
