//! Running commands in a guest: the request's way to the agent, and the two ways back. A client that asks for the upgrade
//! gets frames ([`relay`]), any other gets lines of JSON ([`lines`]). Neither owns the command's bytes for longer than it
//! takes to pass them on, and a client that goes away drops the channel, which ends the command.

mod command;
mod lines;
mod relay;

use super::{
    error::Failure,
    extract::{Json, Path},
    op_id::Op,
    running::Running,
};
use crate::App;
use axum::{
    extract::{FromRequest, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use banger_model::{
    api::{
        EXEC_PROTOCOL,
        error::ErrorBody,
        exec::{ExecEvent, ExecRequest},
    },
    wire::guest,
};
use std::sync::Arc;

/// Runs a command in a VM.
#[utoipa::path(
    post, path = "/vms/{name}/exec", tag = "vms",
    params(("name" = String, Path, description = "The VM")),
    request_body = ExecRequest,
    responses(
        (status = 101, description = "With `Connection: upgrade` and `Upgrade: banger-exec/1`: frames from here on"),
        (status = 200, description = "One event a line", content_type = "application/x-ndjson", body = ExecEvent),
        (status = "default", description = "It was not started", body = ErrorBody),
    ),
)]
pub(super) async fn exec(
    State(app): State<Arc<App>>,
    op: Op,
    Path(name): Path<String>,
    mut request: Request,
) -> Result<Response, Failure> {
    let upgrade = asks_for_frames(request.headers()).then(|| hyper::upgrade::on(&mut request));
    let Json(mut request) = Json::<ExecRequest>::from_request(request, &app).await?;
    let stdin = lines::decode(&std::mem::take(&mut request.stdin))?;
    request.no_stdin |= upgrade.is_none() && stdin.is_empty();
    let running = Running::find(&app, &name).await?;
    let image = app.prepare.image_config(&running.vm.spec.image_digest).await?;
    let (channel, reply) =
        running.request("run the command", guest::Request::Exec(command::command(&image, request)?)).await?;
    let Some(upgrade) = upgrade else { return Ok(lines::answer(running, channel, reply, stdin, op)) };
    relay::begin(running, channel, reply, upgrade);
    let headers = [(header::CONNECTION, "upgrade"), (header::UPGRADE, EXEC_PROTOCOL)];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

fn asks_for_frames(headers: &HeaderMap) -> bool {
    let has = |name, wanted: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case(wanted))
    };
    has(header::CONNECTION, "upgrade") && has(header::UPGRADE, EXEC_PROTOCOL)
}
