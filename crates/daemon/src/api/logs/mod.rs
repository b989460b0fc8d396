//! The console of a boot: the bytes that the guest wrote, as they are, but for the beginning of one that has grown too large.
//! Whoever shows them on a terminal must clean them first; nothing does so here, because a program that reads them wants all
//! of them.

use super::{
    error::Failure,
    extract::{Path, Query},
    vms,
};
use crate::{App, db::VmRow};
use axum::{
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use banger_model::{VmId, api::error::ErrorBody};
use banger_vmm::{console::Changes, trim::Reader};
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use std::{io, path::PathBuf, sync::Arc, time::Duration};
use tokio::task::spawn_blocking;

/// How much is read at once, in bytes.
const CHUNK: usize = 64 * 1024;
/// How often it is looked whether a boot that is on record has begun, or has been seen to end. Both are a matter of
/// moments, told by nothing that could be waited for.
const PAUSE: Duration = Duration::from_millis(100);

/// Which part of a VM's console.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct LogsQuery {
    /// Which boot, counted from 1; the latest when left out.
    boot: Option<u32>,
    /// Go on until the boot ends.
    #[serde(default)]
    follow: bool,
}

/// The console of one boot.
#[utoipa::path(
    get, path = "/vms/{name}/logs", tag = "vms",
    params(("name" = String, Path, description = "The VM"), LogsQuery),
    responses(
        (status = 200, description = "What the guest wrote, byte for byte: not fit for a terminal as it is", content_type = "text/plain"),
        (status = "default", body = ErrorBody),
    ),
)]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    Query(query): Query<LogsQuery>,
) -> Result<Response, Failure> {
    let vm = app.named(&vms::parse(&name)?).await?;
    let boot = match query.boot {
        _ if vm.boots == 0 => return Err(Failure::NeverBooted { vm: vm.name }),
        Some(asked) if !(1..=vm.boots).contains(&asked) => {
            return Err(Failure::NoBoot { vm: vm.name, asked, boots: vm.boots });
        }
        asked => asked.unwrap_or(vm.boots),
    };
    let failed = |source| Failure::Console { vm: vm.name.clone(), source };
    let console = Console { app: Arc::clone(&app), path: app.host.console(vm.id, boot), vm: vm.id, boot };
    let body = match query.follow {
        true => console.follow().await.map_err(failed)?,
        false => console.so_far().await.map_err(failed)?,
    };
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response())
}

struct Console {
    app: Arc<App>,
    path: PathBuf,
    vm: VmId,
    boot: u32,
}

impl Console {
    /// What is there now; a guest that goes on writing does not make it endless.
    async fn so_far(self) -> io::Result<Body> {
        let reader = match open(self.path).await {
            // The VMM has not made it yet, or never did.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Body::empty()),
            reader => reader?,
        };
        let end = reader.length()?;
        Ok(Body::from_stream(stream::try_unfold(reader, move |reader| async move {
            let left = usize::try_from(end.saturating_sub(reader.position())).unwrap_or(CHUNK);
            let (reader, chunk) = read(reader, left.min(CHUNK)).await?;
            Ok::<_, io::Error>(chunk.map(|chunk| (chunk, reader)))
        })))
    }

    /// What is there and what comes, until the boot has ended.
    async fn follow(self) -> io::Result<Body> {
        let reader = loop {
            match open(self.path.clone()).await {
                Err(error) if error.kind() == io::ErrorKind::NotFound => match self.goes_on().await {
                    Some(_) => tokio::time::sleep(PAUSE).await,
                    None => return Ok(Body::empty()),
                },
                reader => break reader?,
            }
        };
        let changes = Changes::of(&self.path)?;
        let follow = Follow { console: self, changes, ended: false };
        let lines = stream::try_unfold((follow, reader), |(mut follow, reader)| async move {
            let (reader, chunk) = follow.next(reader).await?;
            Ok::<_, io::Error>(chunk.map(|chunk| (chunk, (follow, reader))))
        });
        Ok(Body::from_stream(lines))
    }

    /// The VM, while the boot goes on.
    async fn goes_on(&self) -> Option<VmRow> {
        let vm = self.app.db.vm(self.vm).await.ok().flatten()?;
        (vm.boots == self.boot && vm.boot.is_some()).then_some(vm)
    }

    /// Resolves when the boot has ended.
    async fn ended(&self) {
        while let Some(vm) = self.goes_on().await {
            self.app.host.ended(&vm).await;
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn open(path: PathBuf) -> io::Result<Reader> {
    spawn_blocking(move || Reader::open(&path)).await?
}

/// The next bytes, or none at the end.
async fn read(mut reader: Reader, most: usize) -> io::Result<(Reader, Option<Bytes>)> {
    let (reader, chunk) = spawn_blocking(move || {
        let chunk = reader.next(most);
        (reader, chunk)
    })
    .await?;
    let chunk = chunk?;
    Ok((reader, (!chunk.is_empty()).then(|| chunk.into())))
}

struct Follow {
    console: Console,
    changes: Changes,
    /// The boot has ended: what is there is all that will be.
    ended: bool,
}

impl Follow {
    async fn next(&mut self, mut reader: Reader) -> io::Result<(Reader, Option<Bytes>)> {
        loop {
            let (same, chunk) = read(reader, CHUNK).await?;
            reader = same;
            if chunk.is_some() || self.ended {
                return Ok((reader, chunk));
            }
            tokio::select! {
                biased;
                changed = self.changes.wait() => changed?,
                () = self.console.ended() => self.ended = true,
                () = self.console.app.shutdown.cancelled() => return Ok((reader, None)),
            }
        }
    }
}
