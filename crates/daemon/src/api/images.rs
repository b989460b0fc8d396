//! Images over HTTP.

use super::{
    error::Failure,
    events::{self, Outcome},
    extract::{Json, Path},
    op_id::Op,
};
use crate::{App, prepare::Users};
use axum::{extract::State, response::Response};
use banger_image::image::Image;
use banger_model::{
    ImageRef,
    api::{
        error::ErrorBody,
        image::{ImageList, ImageView, ImportImage, PullImage},
        op::{OpEvent, OpResult},
    },
    reference::ReferenceError,
};
use std::sync::Arc;

/// All images that are here.
#[utoipa::path(
    get, path = "/images", tag = "images",
    responses((status = 200, body = ImageList), (status = "default", body = ErrorBody)),
)]
pub(super) async fn list(State(app): State<Arc<App>>) -> Result<axum::Json<ImageList>, Failure> {
    let (images, users) = (app.prepare.list_images().await?, app.image_users().await?);
    Ok(axum::Json(ImageList { images: images.into_iter().map(|image| view(image, &users)).collect() }))
}

/// One image.
#[utoipa::path(
    get, path = "/images/{reference}", tag = "images",
    params(("reference" = String, Path, description = "The image, percent-encoded")),
    responses((status = 200, body = ImageView), (status = "default", body = ErrorBody)),
)]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Path(reference): Path<String>,
) -> Result<axum::Json<ImageView>, Failure> {
    let image = app.prepare.find_image(&parse(&reference)?).await?;
    Ok(axum::Json(view(image, &app.image_users().await?)))
}

/// Fetches or builds an image.
#[utoipa::path(
    post, path = "/images/pull", tag = "images", request_body = PullImage,
    responses((status = 200, content_type = "application/x-ndjson", body = OpEvent), (status = "default", body = ErrorBody)),
)]
pub(super) async fn pull(State(app): State<Arc<App>>, op: Op, Json(request): Json<PullImage>) -> Response {
    events::run(&app, op.0, format!("pull {}", request.image), move |app, cx| async move {
        if !request.force
            && let Some(image) = app.prepare.image_that_is_here(&request.image).await?
        {
            cx.note(format!("{} is already here", image.name));
            return Ok(OpResult::Image(view(image, &app.image_users().await?)).into());
        }
        let image = app.prepare.pull_image(&request.image, request.force, &cx).await?;
        Ok(OpResult::Image(view(image, &app.image_users().await?)).into())
    })
}

/// Makes an image of a local file or folder.
#[utoipa::path(
    post, path = "/images/import", tag = "images", request_body = ImportImage,
    responses((status = 200, content_type = "application/x-ndjson", body = OpEvent), (status = "default", body = ErrorBody)),
)]
pub(super) async fn import(State(app): State<Arc<App>>, op: Op, Json(request): Json<ImportImage>) -> Response {
    events::run(&app, op.0, format!("import {}", request.name), |app, cx| async move {
        let image = app.prepare.import_image(&request.source, &request.name, &cx).await?;
        Ok(OpResult::Image(view(image, &app.image_users().await?)).into())
    })
}

/// Takes a name away, and the image with it when no other name means it. Refused while VMs need it.
#[utoipa::path(
    delete, path = "/images/{reference}", tag = "images",
    params(("reference" = String, Path, description = "The image, percent-encoded")),
    responses((status = 200, content_type = "application/x-ndjson", body = OpEvent), (status = "default", body = ErrorBody)),
)]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    op: Op,
    Path(reference): Path<String>,
) -> Result<Response, Failure> {
    let name = parse(&reference)?;
    Ok(events::run(&app, op.0, format!("delete {name}"), |app, cx| async move {
        app.prepare.delete_image(&name, app.image_users(), &cx).await?;
        Ok(Outcome { result: None, afterwards: None })
    }))
}

fn parse(reference: &str) -> Result<ImageRef, Failure> {
    reference.parse().map_err(|error: ReferenceError| Failure::bad("image's reference", error))
}

fn view(image: Image, users: &Users) -> ImageView {
    let Image { name, digest, manifest } = image;
    ImageView {
        name,
        digest,
        size: manifest.size,
        created_ms: manifest.created_ms,
        init: manifest.init,
        config: manifest.config,
        warnings: manifest.warnings,
        used_by: users.get(&digest).cloned().unwrap_or_default(),
    }
}
