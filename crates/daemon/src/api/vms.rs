//! VMs over HTTP.

use super::{
    error::{Answer, Failure, Json},
    events::{self, Outcome},
    op_id::Op,
};
use crate::{App, op::OpCx, verbs};
use axum::{
    extract::{Path, Query, State},
    response::Response,
};
use banger_model::{
    VmName,
    api::{
        op::OpResult,
        vm::{CreateVm, VmList, VmView},
    },
    vm::Verb,
};
use serde::Deserialize;
use std::sync::Arc;

pub(super) async fn list(State(app): State<Arc<App>>, op: Op) -> Answer<VmList> {
    let rows = app.db.vms().await.map_err(Failure::from);
    Answer::from(op, rows.map(|rows| VmList { vms: rows.into_iter().map(|row| app.view(row)).collect() }))
}

pub(super) async fn show(State(app): State<Arc<App>>, op: Op, Path(name): Path<String>) -> Answer<VmView> {
    Answer::from(op, find(&app, &name).await)
}

async fn find(app: &App, name: &str) -> Result<VmView, Failure> {
    Ok(app.view(app.named(&parse(name)?).await?))
}

/// A name in a path. One that no VM can have is one that no VM has.
pub(super) fn parse(name: &str) -> Result<VmName, Failure> {
    name.parse().map_err(|_| Failure::Verb(verbs::VerbError::NotFound(name.chars().take(80).collect())))
}

pub(super) async fn create(State(app): State<Arc<App>>, op: Op, Json(request): Json<CreateVm>) -> Response {
    let verb = if request.start { "run" } else { "create" };
    let what = match &request.name {
        Some(name) => format!("{verb} {name}"),
        None => format!("{verb} a VM"),
    };
    events::run(&app, op.0, what, |app, cx| async move { create_and_start(app, request, cx).await })
}

async fn create_and_start(app: Arc<App>, request: CreateVm, cx: OpCx) -> Result<Outcome, Failure> {
    let start = request.start;
    let (mut vm, lease) = verbs::create::create(&app, request, &cx).await?;
    cx.note(spec_line(&vm));
    if start {
        let name = vm.name.clone();
        vm = match verbs::start::start(&app, &name, &cx).await {
            Ok(vm) => vm,
            Err(error) => {
                // It never became ready: it stays, so that its logs can be read.
                app.db.keep(vm.id).await?;
                return Err(error.into());
            }
        };
    }
    let name = vm.name.clone();
    let afterwards = lease.map(|lease| -> futures_util::future::BoxFuture<'static, ()> {
        let app = Arc::clone(&app);
        Box::pin(async move {
            match verbs::delete::delete(&app, &name, true, &cx).await {
                Ok(()) | Err(verbs::VerbError::NotFound(_)) => {}
                // Reconcile goes on with it: nobody holds it any more.
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "not deleted after its client left"),
            }
            drop(lease);
        })
    });
    Ok(Outcome { result: Some(OpResult::Vm(app.view(vm))), afterwards })
}

fn spec_line(vm: &crate::db::VmRow) -> String {
    let spec = &vm.spec;
    format!("{}: {} vcpu · {} MiB · {}", vm.name, spec.vcpu, spec.memory.as_mib(), spec.disk)
}

pub(super) async fn start(State(app): State<Arc<App>>, op: Op, Path(name): Path<String>) -> Response {
    act(&app, op, name, Verb::Start)
}

pub(super) async fn stop(State(app): State<Arc<App>>, op: Op, Path(name): Path<String>) -> Response {
    act(&app, op, name, Verb::Stop)
}

pub(super) async fn kill(State(app): State<Arc<App>>, op: Op, Path(name): Path<String>) -> Response {
    act(&app, op, name, Verb::Kill)
}

pub(super) async fn restart(State(app): State<Arc<App>>, op: Op, Path(name): Path<String>) -> Response {
    act(&app, op, name, Verb::Restart)
}

fn act(app: &Arc<App>, op: Op, name: String, verb: Verb) -> Response {
    events::run(app, op.0, format!("{verb} {name}"), move |app, cx| async move {
        let name = parse(&name)?;
        let vm = match verb {
            Verb::Start => verbs::start::start(&app, &name, &cx).await?,
            Verb::Restart => verbs::restart::restart(&app, &name, &cx).await?,
            _ => verbs::stop::stop(&app, &name, verb, &cx).await?,
        };
        Ok(OpResult::Vm(app.view(vm)).into())
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct DeleteQuery {
    #[serde(default)]
    force: bool,
}

pub(super) async fn delete(
    State(app): State<Arc<App>>,
    op: Op,
    Path(name): Path<String>,
    Query(query): Query<DeleteQuery>,
) -> Response {
    events::run(&app, op.0, format!("delete {name}"), move |app, cx| async move {
        verbs::delete::delete(&app, &parse(&name)?, query.force, &cx).await?;
        Ok(Outcome { result: None, afterwards: None })
    })
}
