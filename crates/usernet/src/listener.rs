//! The socket at which QEMU connects, once.
//!
//! Owns: the file of the socket, which lasts until QEMU is there or this program ends. Must not touch: a file that is not
//! a socket, or a socket at which somebody listens.

use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// The socket could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenerError {
    #[error("cannot listen at {path:?}")]
    Bind { path: PathBuf, source: io::Error },
    #[error("another process listens at {path:?}")]
    InUse { path: PathBuf },
    #[error("cannot accept a connection at {path:?}")]
    Accept { path: PathBuf, source: io::Error },
}

/// A bound socket. Its file goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Listens at `path`, for this user only. What a killed process left there is replaced.
    pub(crate) fn bind(path: &Path) -> Result<Self, ListenerError> {
        let path = path.to_path_buf();
        let bound = match bind(&path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => match UnixStream::connect(&path) {
                Ok(_) => return Err(ListenerError::InUse { path }),
                // A socket refuses if nobody listens at it, but so does a file that is no socket.
                Err(refused) if refused.kind() == io::ErrorKind::ConnectionRefused && is_socket(&path) => {
                    std::fs::remove_file(&path).and_then(|()| bind(&path))
                }
                Err(_) => Err(error),
            },
            other => other,
        };
        match bound {
            Ok(socket) => Ok(Self { socket, path }),
            Err(source) => Err(ListenerError::Bind { path, source }),
        }
    }

    /// Takes the one connection; whoever comes later finds nothing. Blocks unless the socket is readable.
    pub(crate) fn accept(self) -> Result<UnixStream, ListenerError> {
        match self.socket.accept() {
            Ok((stream, _)) => Ok(stream),
            Err(source) => Err(ListenerError::Accept { path: self.path.clone(), source }),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Nothing is lost if it has gone already.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Linux gives the file the mode of the socket, so there is no moment at which others could connect.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, 1)?;
    Ok(socket.into())
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn serves_one_connection_and_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = Listener::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let _client = UnixStream::connect(&path).unwrap();
        listener.accept().unwrap();
        assert!(!path.exists());
        drop(Listener::bind(&path).unwrap());
        assert!(!path.exists());
    }

    #[test]
    fn replaces_only_what_a_killed_process_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let listener = Listener::bind(&path).unwrap();
        assert!(matches!(Listener::bind(&path), Err(ListenerError::InUse { .. })));
        drop(listener);
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(Listener::bind(&path), Err(ListenerError::Bind { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
