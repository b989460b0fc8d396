//! The API's socket: only for us, and only ours.

use rustix::process::getuid;
use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::net::{UnixListener, UnixStream};

/// How long to wait when the system gives no connections, for want of descriptors as a rule.
const PAUSE: Duration = Duration::from_secs(1);

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

/// A peer that this daemon is not for; nobody knows whom when the system does not say.
#[derive(Debug)]
pub(super) struct Stranger {
    pub(super) stream: UnixStream,
    pub(super) uid: Option<u32>,
}

impl ApiSocket {
    /// The next connection.
    pub(super) async fn accept(&self) -> Result<UnixStream, Stranger> {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let uid = stream.peer_cred().ok().map(|peer| peer.uid());
                    let admitted = uid.is_some_and(|uid| admitted(uid, getuid().as_raw()));
                    return if admitted { Ok(stream) } else { Err(Stranger { stream, uid }) };
                }
                Err(error) => {
                    tracing::error!(%error, "no connection can be had");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
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
        let socket = ApiSocket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let (client, accepted) = tokio::join!(UnixStream::connect(&path), socket.accept());
        client.unwrap();
        accepted.unwrap();
        drop(socket);
        assert!(!path.exists());
    }
}
