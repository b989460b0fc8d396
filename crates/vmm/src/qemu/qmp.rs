//! The first words with QEMU's control socket: proof that its main loop runs.
//!
//! QEMU opens this socket before it opens disks and builds the machine, but it answers commands only afterwards. So an
//! answer means that nothing on its command line was refused.

use serde_json::Value;
use std::io;
use std::path::Path;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// Longest line we read from QEMU, in bytes.
const MAX_LINE: u64 = 64 * 1024;

/// Returns when QEMU says that the machine runs. Waits for ever: the caller bounds it and watches for QEMU's exit.
///
/// # Errors
/// When what listens there does not speak QMP, or hangs up.
pub(crate) async fn running(socket: &Path) -> io::Result<()> {
    let mut stream = BufReader::new(crate::socket::connect(socket).await?);
    read_until(&mut stream, "QMP").await?;
    stream.write_all(b"{\"execute\":\"qmp_capabilities\"}\n").await?;
    read_until(&mut stream, "return").await?;
    stream.write_all(b"{\"execute\":\"query-status\"}\n").await?;
    read_until(&mut stream, "return").await?;
    Ok(())
}

/// Reads messages until one has that key; events in between are of no interest.
async fn read_until(stream: &mut BufReader<UnixStream>, key: &str) -> io::Result<Value> {
    loop {
        let mut line = Vec::new();
        (&mut *stream).take(MAX_LINE).read_until(b'\n', &mut line).await?;
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let message: Value = serde_json::from_slice(&line)?;
        if let Some(value) = message.get(key) {
            return Ok(value.clone());
        }
        if message.get("error").is_some() {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        }
    }
}
