//! Connecting to a socket that a process of ours is about to make.

use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;

/// How long until it is tried again. Neither VMM tells when its socket is there.
const PAUSE: Duration = Duration::from_millis(2);

/// Connects as soon as somebody listens there. Waits for ever: the caller bounds it and watches for the process's exit.
pub(crate) async fn connect(socket: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(socket).await {
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                tokio::time::sleep(PAUSE).await;
            }
            result => return result,
        }
    }
}
