//! One HTTP connection over the daemon's socket, with a daemon behind it.

use super::{Client, ClientError, Outgoing, start};
use banger_model::paths::{PathFacts, Paths};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::{io, path::Path};
use tokio::net::UnixStream;

impl Client<'_> {
    /// A fresh connection. Starts a daemon first when none listens and that is allowed.
    pub(super) async fn connection(&self) -> Result<SendRequest<Outgoing>, ClientError> {
        let socket = paths()?.socket();
        let stream = match UnixStream::connect(&socket).await {
            Err(error) if nobody_listens(&error) && !self.start => return Err(ClientError::NotRunning { socket }),
            Err(error) if nobody_listens(&error) => {
                self.ui.trace(|| format!("nobody listens at {}: starting the daemon", socket.display()));
                start::daemon().await?;
                connect(&socket).await?
            }
            Err(source) => return Err(ClientError::Connect { socket, source }),
            Ok(stream) => stream,
        };
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(ClientError::Lost)?;
        // It ends with the connection; what goes wrong there reaches the one who waits for the answer.
        tokio::spawn(connection.with_upgrades());
        Ok(sender)
    }
}

async fn connect(socket: &Path) -> Result<UnixStream, ClientError> {
    let failed = |source| ClientError::Connect { socket: socket.to_owned(), source };
    UnixStream::connect(socket).await.map_err(failed)
}

/// Tells "no daemon" from "a daemon that cannot be reached": no socket, or one that a dead daemon left.
fn nobody_listens(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// Where everything is, by the rule that the daemon follows too.
pub(super) fn paths() -> Result<Paths, ClientError> {
    let uid = rustix::process::getuid().as_raw();
    let run_user = Path::new(&format!("/run/user/{uid}")).is_dir();
    Ok(Paths::from_env(|name| std::env::var_os(name), &PathFacts { uid, run_user })?)
}
