//! The API's socket: only for us, and only ours.

use axum::serve::Listener;
use rustix::process::getuid;
use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use tokio::net::{UnixListener, UnixStream, unix::SocketAddr};

/// A socket that talks to its owner, and to root, and to nobody else. Its file goes with it.
#[derive(Debug)]
pub(super) struct ApiSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ApiSocket {
    /// Listens at `path`, in a folder of ours. A file that is there was left by a daemon that has died: the caller holds
    /// the lock that says so.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path: path.into() })
    }
}

impl Drop for ApiSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether a user may speak to the daemon of `us`.
fn admitted(peer: u32, us: u32) -> bool {
    peer == us || peer == 0
}

impl Listener for ApiSocket {
    type Io = UnixStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (UnixStream, SocketAddr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.listener).await;
            match stream.peer_cred() {
                Ok(peer) if admitted(peer.uid(), getuid().as_raw()) => return (stream, address),
                Ok(peer) => tracing::warn!(uid = peer.uid(), "another user's connection was refused"),
                Err(error) => tracing::warn!(%error, "a connection from nobody knows whom was refused"),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_and_root_are_admitted() {
        assert!(admitted(1000, 1000) && admitted(0, 1000));
        assert!(!admitted(1001, 1000) && !admitted(1000, 0));
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_ours_goes_with_us() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let mut socket = ApiSocket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let (client, accepted) = tokio::join!(UnixStream::connect(&path), Listener::accept(&mut socket));
        client.unwrap();
        drop((accepted, socket));
        assert!(!path.exists());
    }
}
