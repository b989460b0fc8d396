//! One daemon: opened whole or not at all, and taken down whole from wherever it is.

use super::{StartError, chores, folders, instance, serve::serve, socket::ApiSocket};
use crate::{App, root};
use banger_model::paths::Paths;
use std::{io, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tracing::{Instrument, Span};

/// How long operations that change the host may take to come to an end when the daemon is to end.
const END_BOUND: Duration = Duration::from_secs(30);
/// How long answers may take after that.
const ANSWER_BOUND: Duration = Duration::from_secs(2);

/// A daemon that answers. Dropped, it is as if it had been killed: its socket and its lock are gone, and nothing of it goes
/// on but what cannot be stopped half-way.
pub(crate) struct Daemon {
    server: Server,
    /// What is done now and then, as long as the daemon lives.
    chores: JoinSet<()>,
    app: Services,
    /// Records that belong to no request are those of the daemon's own life.
    life: Span,
    /// Last: whoever takes the lock next finds nothing of ours at work.
    _instance: instance::Instance,
}

/// The services, whose tasks end with this.
struct Services(Arc<App>);

impl Drop for Services {
    fn drop(&mut self) {
        self.0.shutdown.cancel();
    }
}

/// The task that answers; it ends with this.
struct Server(JoinHandle<()>);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Daemon {
    /// Opens one: folders, lock, log, services, a first look at the host, socket.
    ///
    /// # Errors
    /// Names what could not be had. What had been opened before it is closed again.
    pub(crate) async fn open(
        paths: Paths,
        parts: &impl root::Parts,
        log: impl FnOnce(&Paths) -> io::Result<()>,
    ) -> Result<Self, StartError> {
        folders::ensure(&paths.data, "XDG_DATA_HOME")?;
        folders::ensure(&paths.state, "XDG_STATE_HOME")?;
        folders::ensure(&paths.runtime, "XDG_RUNTIME_DIR")?;
        let instance = instance::claim(&paths.state)?;
        log(&paths).map_err(|source| StartError::Log { path: paths.log(), source })?;
        let life = tracing::info_span!("daemon", op = %crate::clock::new_op());
        let opened = async {
            tracing::info!(version = env!("CARGO_PKG_VERSION"), pid = std::process::id(), "begins");
            let opened = Self::open_services(paths, parts, instance, life.clone()).await;
            if let Err(error) = &opened {
                tracing::error!(error = error as &dyn std::error::Error, "does not come up");
            }
            opened
        };
        opened.instrument(life.clone()).await
    }

    async fn open_services(
        paths: Paths,
        parts: &impl root::Parts,
        instance: instance::Instance,
        life: Span,
    ) -> Result<Self, StartError> {
        let app = Services(root::assemble(paths, parts)?);
        if !chores::look(&app.0).await {
            // VMs that run are watched by nobody until there has been one.
            app.0.unsettled.notify_one();
        }
        let path = app.0.paths.socket();
        let socket = ApiSocket::bind(&path).map_err(|source| StartError::Listen { path, source })?;
        let answering = serve(socket, crate::api::router(Arc::clone(&app.0)), app.0.shutdown.clone());
        let server = Server(tokio::spawn(answering.in_current_span()));
        Ok(Self { server, chores: chores::begin(&app.0), app, life, _instance: instance })
    }

    /// Its services.
    pub(crate) fn app(&self) -> &Arc<App> {
        &self.app.0
    }

    /// Where it answers.
    pub(crate) fn socket(&self) -> PathBuf {
        self.app.0.paths.socket()
    }

    /// Ends it in order, as it was told to by somebody: what changes the host comes to its end first, and clients hear of it.
    pub(crate) async fn close(mut self, told: &str) {
        let life = self.life.clone();
        let closing = async move {
            tracing::info!(told, "is to end");
            let app = &self.app.0;
            app.shutdown.cancel();
            app.operations.stop_preparing();
            app.tasks.close();
            if timeout(END_BOUND, app.tasks.wait()).await.is_err() {
                tracing::warn!("operations are still open; the next daemon goes on with them");
            }
            self.chores.abort_all();
            let _ = timeout(ANSWER_BOUND, &mut self.server.0).await;
            tracing::info!("ends");
        };
        closing.instrument(life).await;
    }
}
