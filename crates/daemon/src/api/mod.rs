//! The API: HTTP/1.1 with JSON over a Unix socket. One file a kind of thing; `banger_model::api` holds the contract.
//!
//! Handlers translate and nothing else: every decision is a verb's. A handler that fails returns a [`Failure`]; the
//! outermost layer ([`op_id`]) makes an answer of it. Routes and their description are one: a handler's annotation says
//! both where it is and what it takes, so the OpenAPI document cannot tell of other routes than there are.

mod code;
mod daemon;
mod doctor;
mod error;
mod events;
mod exec;
mod extract;
mod files;
mod images;
mod kernels;
mod logs;
mod op_id;
mod openapi;
mod operations;
mod running;
mod stats;
mod vms;

pub(crate) use error::{Unreadable, refuse};
#[cfg(test)]
pub(crate) use {
    error::{Failure, body_of},
    vms::create_and_start,
};

use crate::App;
use axum::{Router, extract::DefaultBodyLimit, middleware};
use banger_model::api::API_PREFIX;
use std::sync::Arc;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

/// All routes, ready to be served.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::from(described())
        .fallback(error::unknown_route)
        .method_not_allowed_fallback(error::wrong_method)
        .layer(DefaultBodyLimit::max(extract::MAX_JSON))
        .layer(middleware::from_fn(op_id::attach))
        .with_state(app)
}

/// All routes, with what they take and answer.
fn described() -> OpenApiRouter<Arc<App>> {
    let routes = OpenApiRouter::new()
        .routes(routes!(daemon::show))
        .routes(routes!(daemon::stop))
        .routes(routes!(doctor::look, doctor::examine))
        .routes(routes!(openapi::show))
        .routes(routes!(vms::list, vms::create))
        .routes(routes!(vms::show, vms::delete))
        .routes(routes!(vms::prunable))
        .routes(routes!(vms::start))
        .routes(routes!(vms::stop))
        .routes(routes!(vms::kill))
        .routes(routes!(vms::restart))
        .routes(routes!(exec::exec))
        .routes(routes!(files::copy_out, files::copy_in))
        .routes(routes!(logs::show))
        .routes(routes!(stats::show))
        .routes(routes!(images::list))
        .routes(routes!(images::pull))
        .routes(routes!(images::import))
        .routes(routes!(images::show, images::delete))
        .routes(routes!(kernels::list))
        .routes(routes!(kernels::pull))
        .routes(routes!(kernels::import))
        .routes(routes!(kernels::show, kernels::delete))
        .routes(routes!(operations::list))
        .routes(routes!(operations::cancel))
        .routes(routes!(operations::log));
    OpenApiRouter::with_openapi(openapi::Document::openapi()).nest(API_PREFIX, routes)
}
