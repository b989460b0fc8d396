//! VMs over HTTP.

use super::{
    code,
    error::Failure,
    events::{self, Outcome},
    extract::{Json, Path, Query},
    op_id::Op,
};
use crate::{
    App,
    leases::Lease,
    op::OpCx,
    verbs::{self, create::Made},
};
use axum::{extract::State, response::Response};
use banger_model::{
    ByteSize, VmId, VmName,
    api::{
        error::{ErrorBody, ErrorCode},
        op::{OpEvent, OpResult},
        vm::{CreateVm, PrunableVm, PruneList, VmList, VmView},
    },
    vm::Verb,
};
use futures_util::future::BoxFuture;
use serde::Deserialize;
use std::sync::Arc;

/// All VMs.
#[utoipa::path(
    get, path = "/vms", tag = "vms",
    responses((status = 200, body = VmList), (status = "default", body = ErrorBody)),
)]
pub(super) async fn list(State(app): State<Arc<App>>) -> Result<axum::Json<VmList>, Failure> {
    let rows = app.db.vms().await?;
    Ok(axum::Json(VmList { vms: rows.into_iter().map(|row| app.view(row)).collect() }))
}

/// What a prune would remove, and the room that it would free. Removing it is deleting each, by its name and its id, which
/// fails if it has been put to use in the meantime.
#[utoipa::path(
    get, path = "/prune", tag = "vms",
    responses((status = 200, body = PruneList), (status = "default", body = ErrorBody)),
)]
pub(super) async fn prunable(State(app): State<Arc<App>>) -> Result<axum::Json<PruneList>, Failure> {
    let vms = app.prunable().await?.into_iter().map(|row| PrunableVm {
        used: ByteSize(app.host.used(row.id)),
        id: row.id,
        name: row.name,
        created_ms: row.created_ms,
        ended_ms: row.last_end.map(|end| end.at_ms),
    });
    Ok(axum::Json(PruneList { vms: vms.collect() }))
}

/// One VM.
#[utoipa::path(
    get, path = "/vms/{name}", tag = "vms",
    params(("name" = String, Path, description = "The VM")),
    responses((status = 200, body = VmView), (status = "default", body = ErrorBody)),
)]
pub(super) async fn show(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<axum::Json<VmView>, Failure> {
    let row = app.named(&parse(&name)?).await?;
    Ok(axum::Json(app.view(row)))
}

/// A name in a path. One that no VM can have is one that no VM has.
pub(super) fn parse(name: &str) -> Result<VmName, Failure> {
    name.parse().map_err(|_| Failure::Verb(verbs::VerbError::NotFound(name.chars().take(80).collect())))
}

/// Makes a VM, and starts it if that is asked for.
#[utoipa::path(
    post, path = "/vms", tag = "vms", request_body = CreateVm,
    responses((status = 200, content_type = "application/x-ndjson", body = OpEvent), (status = "default", body = ErrorBody)),
)]
pub(super) async fn create(State(app): State<Arc<App>>, op: Op, Json(request): Json<CreateVm>) -> Response {
    let verb = if request.start { "run" } else { "create" };
    let what = match &request.name {
        Some(name) => format!("{verb} {name}"),
        None => format!("{verb} a VM"),
    };
    events::run(&app, op.0, what, |app, cx| create_and_start(app, request, cx))
}

/// What `POST /vms` does.
pub(crate) async fn create_and_start(app: Arc<App>, request: CreateVm, cx: OpCx) -> Result<Outcome, Failure> {
    let (start, asked) = (request.start, request.name.clone());
    let made = verbs::create::create(&app, request, &cx).await.map_err(Failure::from);
    if let Err(failure) = &made
        && code::of(failure) == ErrorCode::Cancelled
    {
        match asked {
            Some(name) => tell_undone(&app, &name, &cx).await,
            None => cx.note("cancelled: nothing is left of the VM".to_owned()),
        }
    }
    let Made { mut vm, slot, lease } = made?;
    let (id, name) = (vm.id, vm.name.clone());
    if start {
        // The slot was never let go: nobody could delete it, or start it, in between.
        match verbs::start::start_held(&app, vm, slot, &cx).await {
            Ok(started) => vm = started,
            Err(error) => {
                let failure = Failure::from(error);
                let cancelled = code::of(&failure) == ErrorCode::Cancelled;
                match lease {
                    // Nobody wants it any more.
                    Some(lease) if cancelled => let_go(Arc::clone(&app), name.clone(), id, lease, cx.clone()).await,
                    // It never became ready: it stays, so that its logs can be read.
                    _ => keep(&app, id).await,
                }
                if cancelled {
                    tell_undone(&app, &name, &cx).await;
                }
                return Err(failure);
            }
        }
    }
    let result = Some(OpResult::Vm(app.view(vm)));
    let afterwards = lease.map(|lease| -> BoxFuture<'static, ()> { Box::pin(let_go(app, name, id, lease, cx)) });
    Ok(Outcome { result, afterwards })
}

/// What a cancel has left of a VM, for whoever cancelled: what was built is taken down again, and what was there before stays.
async fn tell_undone(app: &App, name: &VmName, cx: &OpCx) {
    match app.named(name).await {
        Ok(vm) => cx.note(format!("cancelled: {name} stays, and is {}", app.status(&vm))),
        Err(_) => cx.note(format!("cancelled: nothing is left of {name}")),
    }
}

/// Unties a VM from its client. If that cannot be written, the VM goes with the client after all; the cause is told.
async fn keep(app: &App, id: VmId) {
    if let Err(error) = app.db.keep(id).await {
        tracing::error!(vm = %id, error = &error as &dyn std::error::Error, "not kept");
    }
}

/// The client that the VM was tied to has gone.
async fn let_go(app: Arc<App>, name: VmName, id: VmId, lease: Lease, cx: OpCx) {
    match verbs::delete::delete(&app, &name, Some(id), true, &cx).await {
        Ok(()) | Err(verbs::VerbError::NotFound(_)) => {}
        // Reconcile goes on with it: nobody holds it any more.
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "not deleted after its client left");
            app.unsettled.notify_one();
        }
    }
    drop(lease);
}

/// Boots a VM.
#[utoipa::path(
    post, path = "/vms/{name}/start", tag = "vms",
    params(("name" = String, Path, description = "The VM")),
    responses((status = 200, content_type = "application/x-ndjson", body = OpEvent)),
)]
pub(super) async fn start(State(app): State<Arc<App>>, op: Op, Path(name): Path<String>) -> Response {
    act(&app, op, name, Verb::Start)
}

/// Ends a VM in order; at once when it does not end within a bound.
#[utoipa::path(
    post, path = "/vms/{name}/stop", tag = "vms",
    params(("name" = String, Path, description = "The VM")),
    responses((status = 200, content_type = "application/x-ndjson", body = OpEvent)),
)]
pub(super) async fn stop(State(app): State<Arc<App>>, op: Op, Path(name): Path<String>) -> Response {
    act(&app, op, name, Verb::Stop)
}

/// Ends a VM at once. What its guest had not written to its disks is lost.
#[utoipa::path(
    post, path = "/vms/{name}/kill", tag = "vms",
    params(("name" = String, Path, description = "The VM")),
    responses((status = 200, content_type = "application/x-ndjson", body = OpEvent)),
)]
pub(super) async fn kill(State(app): State<Arc<App>>, op: Op, Path(name): Path<String>) -> Response {
    act(&app, op, name, Verb::Kill)
}

/// Gives a VM a new boot.
#[utoipa::path(
    post, path = "/vms/{name}/restart", tag = "vms",
    params(("name" = String, Path, description = "The VM")),
    responses((status = 200, content_type = "application/x-ndjson", body = OpEvent)),
)]
pub(super) async fn restart(State(app): State<Arc<App>>, op: Op, Path(name): Path<String>) -> Response {
    act(&app, op, name, Verb::Restart)
}

fn act(app: &Arc<App>, op: Op, name: String, verb: Verb) -> Response {
    events::run(app, op.0, format!("{verb} {name}"), move |app, cx| async move {
        let name = parse(&name)?;
        let done = match verb {
            Verb::Start => verbs::start::start(&app, &name, &cx).await,
            Verb::Restart => verbs::restart::restart(&app, &name, &cx).await,
            _ => verbs::stop::stop(&app, &name, verb, &cx).await,
        };
        match done.map_err(Failure::from) {
            Ok(vm) => Ok(OpResult::Vm(app.view(vm)).into()),
            Err(failure) => {
                if code::of(&failure) == ErrorCode::Cancelled {
                    tell_undone(&app, &name, &cx).await;
                }
                Err(failure)
            }
        }
    })
}

/// How a VM is deleted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DeleteQuery {
    /// Also when it runs: it is killed first.
    #[serde(default)]
    force: bool,
    /// Only if it is this very VM, and not another that has got its name.
    #[param(value_type = Option<String>)]
    id: Option<VmId>,
}

/// Removes a VM with its disks.
#[utoipa::path(
    delete, path = "/vms/{name}", tag = "vms",
    params(("name" = String, Path, description = "The VM"), DeleteQuery),
    responses((status = 200, content_type = "application/x-ndjson", body = OpEvent), (status = "default", body = ErrorBody)),
)]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    op: Op,
    Path(name): Path<String>,
    Query(query): Query<DeleteQuery>,
) -> Response {
    events::run(&app, op.0, format!("delete {name}"), move |app, cx| async move {
        verbs::delete::delete(&app, &parse(&name)?, query.id, query.force, &cx).await?;
        Ok(Outcome { result: None, afterwards: None })
    })
}
