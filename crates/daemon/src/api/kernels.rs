//! Kernels over HTTP.

use super::{
    error::Failure,
    events::{self, Outcome},
    extract::{Json, Path},
    op_id::Op,
};
use crate::{App, prepare::Users};
use axum::{extract::State, response::Response};
use banger_image::kernel::Kernel;
use banger_model::{
    ByteSize, KernelRef,
    api::{
        error::ErrorBody,
        image::{ImportKernel, KernelList, KernelView, PullKernel},
        op::{OpEvent, OpResult},
    },
    reference::{KERNEL_CATALOG, KernelRefError},
};
use std::sync::Arc;

/// All kernels that are here, and those of the catalog that are not.
#[utoipa::path(
    get, path = "/kernels", tag = "kernels",
    responses((status = 200, body = KernelList), (status = "default", body = ErrorBody)),
)]
pub(super) async fn list(State(app): State<Arc<App>>) -> Result<axum::Json<KernelList>, Failure> {
    let (here, users) = (app.prepare.list_kernels().await?, app.kernel_users().await?);
    let mut kernels: Vec<KernelView> = here.into_iter().map(|kernel| view(kernel, &users)).collect();
    let catalog = KERNEL_CATALOG.iter().filter_map(|name| name.parse().ok());
    let missing: Vec<_> = catalog.filter(|name| !kernels.iter().any(|kernel| kernel.name == *name)).collect();
    kernels.extend(missing.into_iter().map(to_be_had));
    kernels.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(axum::Json(KernelList { kernels }))
}

/// One kernel.
#[utoipa::path(
    get, path = "/kernels/{name}", tag = "kernels",
    params(("name" = String, Path, description = "The kernel")),
    responses((status = 200, body = KernelView), (status = "default", body = ErrorBody)),
)]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<axum::Json<KernelView>, Failure> {
    let kernel = app.prepare.find_kernel(&parse(&name)?).await?;
    Ok(axum::Json(view(kernel, &app.kernel_users().await?)))
}

/// Fetches a kernel of the catalog.
#[utoipa::path(
    post, path = "/kernels/pull", tag = "kernels", request_body = PullKernel,
    responses((status = 200, content_type = "application/x-ndjson", body = OpEvent), (status = "default", body = ErrorBody)),
)]
pub(super) async fn pull(State(app): State<Arc<App>>, op: Op, Json(request): Json<PullKernel>) -> Response {
    events::run(&app, op.0, format!("pull kernel {}", request.kernel), move |app, cx| async move {
        if !request.force
            && let Some(kernel) = app.prepare.kernel_that_is_here(&request.kernel).await?
        {
            cx.note(format!("{} is already here", kernel.name));
            return Ok(OpResult::Kernel(view(kernel, &app.kernel_users().await?)).into());
        }
        let kernel = app.prepare.pull_kernel(&request.kernel, request.force, &cx).await?;
        Ok(OpResult::Kernel(view(kernel, &app.kernel_users().await?)).into())
    })
}

/// Takes in a kernel of the user's.
#[utoipa::path(
    post, path = "/kernels/import", tag = "kernels", request_body = ImportKernel,
    responses((status = 200, content_type = "application/x-ndjson", body = OpEvent), (status = "default", body = ErrorBody)),
)]
pub(super) async fn import(
    State(app): State<Arc<App>>,
    op: Op,
    Json(request): Json<ImportKernel>,
) -> Result<Response, Failure> {
    for path in std::iter::once(&request.kernel).chain(&request.modules) {
        if !path.is_absolute() {
            return Err(Failure::bad("path on the host", NotAbsolute(path.display().to_string())));
        }
    }
    Ok(events::run(&app, op.0, format!("import kernel {}", request.name), |app, cx| async move {
        let ImportKernel { name, kernel, modules } = request;
        let kernel = app.prepare.import_kernel(&name, &kernel, modules.as_deref(), &cx).await?;
        Ok(OpResult::Kernel(view(kernel, &app.kernel_users().await?)).into())
    }))
}

/// Takes a name away, and the kernel with it when no other name means it. Refused while VMs need it.
#[utoipa::path(
    delete, path = "/kernels/{name}", tag = "kernels",
    params(("name" = String, Path, description = "The kernel")),
    responses((status = 200, content_type = "application/x-ndjson", body = OpEvent), (status = "default", body = ErrorBody)),
)]
pub(super) async fn delete(State(app): State<Arc<App>>, op: Op, Path(name): Path<String>) -> Result<Response, Failure> {
    let name = parse(&name)?;
    Ok(events::run(&app, op.0, format!("delete kernel {name}"), |app, cx| async move {
        app.prepare.delete_kernel(&name, app.kernel_users(), &cx).await?;
        Ok(Outcome { result: None, afterwards: None })
    }))
}

#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not an absolute path")]
struct NotAbsolute(String);

fn parse(name: &str) -> Result<KernelRef, Failure> {
    name.parse().map_err(|error: KernelRefError| Failure::bad("kernel's name", error))
}

fn view(kernel: Kernel, users: &Users) -> KernelView {
    KernelView {
        name: kernel.name,
        digest: Some(kernel.digest),
        release: kernel.manifest.release,
        origin: kernel.origin.to_string(),
        size: kernel.size,
        created_ms: kernel.created_ms,
        used_by: users.get(&kernel.digest).cloned().unwrap_or_default(),
    }
}

fn to_be_had(name: KernelRef) -> KernelView {
    KernelView {
        name,
        digest: None,
        release: String::new(),
        origin: String::new(),
        size: ByteSize(0),
        created_ms: 0,
        used_by: Vec::new(),
    }
}
