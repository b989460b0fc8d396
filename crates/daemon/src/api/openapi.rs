//! The API's description of itself, made from the handlers' annotations when somebody asks for it.

use axum::Json;
use utoipa::{OpenApi, openapi};

/// What is not about a single route.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "banger",
        description = "Disposable Linux machines on this host. HTTP/1.1 over a Unix socket of the user's.\n\nLong operations \
            answer 200 with events, one JSON object a line (`application/x-ndjson`); the last one is `done` or `failed`. \
            Names and references in paths are percent-encoded. Every answer has the operation's id in the header \
            `banger-op`; a request may choose the id with that header. Optional fields are left out when empty; unknown \
            ones are ignored."
    ),
    tags(
        (name = "vms", description = "Virtual machines"),
        (name = "images", description = "Root file systems"),
        (name = "kernels", description = "What VMs boot"),
        (name = "host", description = "The daemon and the host it runs on")
    )
)]
pub(super) struct Document;

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "host", responses((status = 200, description = "OpenAPI 3.1")))]
pub(super) async fn show() -> Json<openapi::OpenApi> {
    Json(super::described().into_openapi())
}
