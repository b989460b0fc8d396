//! `bangerd run`: the daemon's life.

use super::{StartError, folders, instance, log, paths, socket::ApiSocket};
use crate::{
    App,
    app::Parts,
    boot_files::BootFiles,
    config::ConfigFile,
    db::Db,
    host::{self, real::RealHost},
    host_facts::HostFacts,
    memory,
    prepare::Prepare,
    reconcile,
};
use banger_image::store::Store;
use banger_model::paths::Paths;
use std::{fs::OpenOptions, io::Write, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{MissedTickBehavior, interval, timeout},
};
use tracing::Instrument;

/// How long operations that change the host may take to come to an end when the daemon is to end.
const END_BOUND: Duration = Duration::from_secs(30);
/// How long answers may take after that.
const ANSWER_BOUND: Duration = Duration::from_secs(2);
/// How long after an operation its memory is given back.
const TIDY_PAUSE: Duration = Duration::from_secs(1);
/// How long after an operation that failed it is looked whether it left something.
const MEND_PAUSE: Duration = Duration::from_secs(1);
/// How often it is looked whether what guests write has grown too large.
const TRIM_PERIOD: Duration = Duration::from_secs(1);
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
    folders::ensure(&paths.data, "XDG_DATA_HOME")?;
    folders::ensure(&paths.state, "XDG_STATE_HOME")?;
    folders::ensure(&paths.runtime, "XDG_RUNTIME_DIR")?;
    let _instance = instance::claim(&paths.state)?;
    log::begin(&paths).map_err(|source| StartError::Log { path: paths.log(), source })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING)
        .enable_all()
        .build()
        .map_err(|source| StartError::Runtime { source })?;
    // Records that belong to no request are those of the daemon's own life.
    let life = tracing::info_span!("daemon", op = %crate::clock::new_op());
    let lived = runtime.block_on(live(paths, detached).instrument(life));
    // What still runs is bounded by nothing here: it is cut off, and the next daemon takes it from there.
    runtime.shutdown_background();
    lived
}

async fn live(paths: Paths, detached: bool) -> Result<(), StartError> {
    let (mut term, mut interrupt) = (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
    let app = assemble(paths)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), pid = std::process::id(), "begins");
    look(&app).await;

    let path = app.paths.socket();
    let socket = ApiSocket::bind(&path).map_err(|source| StartError::Listen { path: path.clone(), source })?;
    let serving = axum::serve(socket, crate::api::router(Arc::clone(&app)))
        .with_graceful_shutdown(app.shutdown.clone().cancelled_owned());
    let mut server = tokio::spawn(serving.into_future());
    announce(&path, detached);
    let looking = tokio::spawn(look_again(Arc::clone(&app)));
    let tidying = tokio::spawn(tidy_up(Arc::clone(&app)));
    let trimming = tokio::spawn(trim(Arc::clone(&app)));

    tokio::select! {
        _ = term.recv() => tracing::info!("told to end by SIGTERM"),
        _ = interrupt.recv() => tracing::info!("told to end by SIGINT"),
        () = app.shutdown.cancelled() => tracing::info!("told to end by a client"),
    }
    app.shutdown.cancel();
    app.operations.stop_preparing();
    app.tasks.close();
    if timeout(END_BOUND, app.tasks.wait()).await.is_err() {
        tracing::warn!("operations are still open; the next daemon goes on with them");
    }
    looking.abort();
    tidying.abort();
    trimming.abort();
    if timeout(ANSWER_BOUND, &mut server).await.is_err() {
        server.abort();
    }
    tracing::info!("ends");
    Ok(())
}

fn on(kind: SignalKind) -> Result<Signal, StartError> {
    signal(kind).map_err(|source| StartError::Runtime { source })
}

/// Opens everything.
fn assemble(paths: Paths) -> Result<Arc<App>, StartError> {
    let program = std::env::current_exe().map_err(|source| StartError::OwnProgram { source })?;
    let beside = |name: &str| program.parent().map_or_else(|| PathBuf::from(name), |folder| folder.join(name));
    let config = ConfigFile::new(paths.config.clone());
    let database = paths.state.join("banger.db");
    let vms = host::real::vms_with_folders(&paths).map_err(|source| StartError::Vms { source })?;
    let db = Db::open(&database, vms).map_err(|source| StartError::Db { path: database, source })?;
    let store = Store::open(paths.data.clone())?;
    match host::real::sweep_unfinished(&paths) {
        0 => {}
        count => tracing::info!(count, "files that a daemon before left half written were removed"),
    }
    let boot_files = BootFiles::new(store, beside("banger-agent"));
    let host = RealHost::new(&paths, boot_files.clone(), config.clone(), beside("banger-usernet"));
    let prepare = Prepare::new(boot_files, config);
    Ok(App::new(Parts { paths, host_facts: HostFacts::measure(), db, host: Arc::new(host), prepare }))
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

/// Makes the daemon small again after work.
async fn tidy_up(app: Arc<App>) {
    loop {
        app.operations.one_ended().await;
        // What works without a pause would be slowed down for nothing.
        tokio::time::sleep(TIDY_PAUSE).await;
        let _ = tokio::task::spawn_blocking(memory::give_back).await;
    }
}

/// Keeps what guests write within its bounds.
async fn trim(app: Arc<App>) {
    let mut tick = interval(TRIM_PERIOD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        app.host.tidy().await;
    }
}

/// One look at everything that may need mending.
async fn look(app: &App) {
    let span = tracing::info_span!("reconcile", op = %crate::clock::new_op());
    async {
        if let Err(error) = reconcile::all(app).await {
            tracing::error!(error = &error as &dyn std::error::Error, "not reconciled");
        }
        match app.prepare.prune_images(app.image_users()).await {
            Ok(gone) if gone.is_empty() => {}
            Ok(gone) => tracing::info!(?gone, "images without a name were removed"),
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "images were not pruned"),
        }
        match app.prepare.prune_kernels(app.kernel_users()).await {
            Ok(gone) if gone.is_empty() => {}
            Ok(gone) => tracing::info!(?gone, "kernels without a name were removed"),
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "kernels were not pruned"),
        }
        let store = app.prepare.store().clone();
        let swept = tokio::task::spawn_blocking(move || store.sweep_staging()).await;
        match swept {
            Ok(Ok(0)) | Err(_) => {}
            Ok(Ok(count)) => tracing::info!(count, "left-over work was swept"),
            Ok(Err(error)) => tracing::warn!(error = &error as &dyn std::error::Error, "left-over work was not swept"),
        }
    }
    .instrument(span)
    .await;
}

async fn look_again(app: Arc<App>) {
    let mut tick = interval(reconcile::PERIOD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is at once, and that look has been had.
    tick.tick().await;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            // What was busy may be so no more.
            () = app.unsettled.notified() => tokio::time::sleep(MEND_PAUSE).await,
        }
        look(&app).await;
    }
}
