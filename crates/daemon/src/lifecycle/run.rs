//! `bangerd run`: the daemon's life.

use super::{StartError, daemon::Daemon, log, paths};
use crate::{memory, root::Installed};
use banger_model::paths::Paths;
use std::{fs::OpenOptions, io::Write};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
};

/// Threads that run tasks. Everything slow has threads of its own.
const WORKERS: usize = 2;
/// Threads for files, SQLite and pulls. Each pull has one, and each pull that waits for another.
const BLOCKING: usize = 128;

/// Lives until it is told to end. With `detached`, in a session of its own and without standard streams once it answers.
pub(crate) fn run(detached: bool) -> Result<(), StartError> {
    memory::bound();
    let paths = paths()?;
    if detached {
        // Fails for the leader of a group, which needs none.
        let _ = rustix::process::setsid();
    }
    let runtime = runtime().map_err(|source| StartError::Runtime { source })?;
    let lived = runtime.block_on(live(paths, detached));
    // What still runs is bounded by nothing here: it is cut off, and the next daemon takes it from there.
    runtime.shutdown_background();
    lived
}

/// What the daemon's tasks run on.
pub(crate) fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(WORKERS).max_blocking_threads(BLOCKING).enable_all().build()
}

async fn live(paths: Paths, detached: bool) -> Result<(), StartError> {
    let (mut term, mut interrupt) = (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
    let daemon = Daemon::open(paths, &Installed::here()?, log::begin).await?;
    announce(&daemon.socket(), detached);
    let told = tokio::select! {
        _ = term.recv() => "by SIGTERM",
        _ = interrupt.recv() => "by SIGINT",
        () = daemon.app().shutdown.cancelled() => "by a client",
    };
    daemon.close(told).await;
    Ok(())
}

fn on(kind: SignalKind) -> Result<Signal, StartError> {
    signal(kind).map_err(|source| StartError::Runtime { source })
}

/// Says that the socket answers. Whoever waits for that has gone after it, so nothing more may be said there.
fn announce(socket: &std::path::Path, detached: bool) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "listening on {}", socket.display()).and_then(|()| stdout.flush());
    drop(stdout);
    if detached && let Ok(null) = OpenOptions::new().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}
