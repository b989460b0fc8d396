//! Talking with QEMU's control socket: one client at a time; the next one waits.
//!
//! QEMU opens this socket before it opens disks and builds the machine, but it answers commands only afterwards. So an
//! answer means that nothing on its command line was refused. Nothing here has a bound in time: callers have.

use serde_json::{Value, json};
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
    let mut qmp = Qmp::on(crate::socket::connect(socket).await?).await?;
    qmp.execute("query-status", json!({})).await.map(drop)
}

/// A conversation with one QEMU.
#[derive(Debug)]
pub(crate) struct Qmp(BufReader<UnixStream>);

impl Qmp {
    /// With one that runs.
    pub(crate) async fn of_running(socket: &Path) -> io::Result<Self> {
        Self::on(UnixStream::connect(socket).await?).await
    }

    async fn on(stream: UnixStream) -> io::Result<Self> {
        let mut qmp = Self(BufReader::new(stream));
        qmp.read_until("QMP").await?;
        qmp.execute("qmp_capabilities", json!({})).await?;
        Ok(qmp)
    }

    /// What QEMU returns.
    pub(crate) async fn execute(&mut self, command: &str, arguments: Value) -> io::Result<Value> {
        let line = format!("{}\n", json!({ "execute": command, "arguments": arguments }));
        self.0.write_all(line.as_bytes()).await?;
        self.read_until("return").await
    }

    /// Reads messages until one has that key; events in between are of no interest.
    async fn read_until(&mut self, key: &str) -> io::Result<Value> {
        loop {
            let mut line = Vec::new();
            (&mut self.0).take(MAX_LINE).read_until(b'\n', &mut line).await?;
            if line.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let message: Value = serde_json::from_slice(&line)?;
            if let Some(value) = message.get(key) {
                return Ok(value.clone());
            }
            if let Some(error) = message.get("error") {
                let said = error["desc"].as_str().unwrap_or_default();
                return Err(io::Error::new(io::ErrorKind::InvalidData, crate::console::clean(said.as_bytes())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever a QEMU that was taken over says: an answer, or an error.
    #[test]
    #[expect(clippy::print_stdout, reason = "how much was tried is for the reader of the log")]
    fn fuzzed_replies() {
        let talk = concat!(
            r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}}, "capabilities": ["oob"]}}"#,
            "\n",
            r#"{"return": {}}"#,
            "\n",
            r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "RESUME"}"#,
            "\n",
            r#"{"return": {"status": "running", "running": true}}"#,
            "\n",
            r#"{"error": {"class": "GenericError", "desc": "no"}}"#,
            "\n",
        );
        let words: [&[u8]; 5] = [b"\n", b"null", b"{\"error\": 5}\n", b"[[[[[[[[[[[[[[[[[[[[[[[[", b"\x1b[2J"];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        println!(
            "{}",
            banger_damage::fuzz::fuzz("QMP", &[talk.into()], &words, 4 << 20, |bytes| {
                let talk = async {
                    let (ours, mut theirs) = UnixStream::pair().unwrap();
                    let said = async {
                        let _hung_up = theirs.write_all(bytes).await;
                        let _hung_up = theirs.shutdown().await;
                        let _all = tokio::io::copy(&mut theirs, &mut tokio::io::sink()).await;
                    };
                    let asked = async {
                        let mut qmp = Qmp::on(ours).await?;
                        qmp.execute("query-status", json!({})).await
                    };
                    let (answer, ()) = tokio::join!(asked, said);
                    if let Err(error) = answer {
                        assert!(!error.to_string().contains('\x1b'), "it is fit for a terminal");
                    }
                };
                runtime.block_on(talk);
            })
        );
    }
}
