//! Starting a daemon. `bangerd start` returns once its socket answers, or says on standard error why it cannot.

use std::{
    ffi::OsString,
    io,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{io::AsyncReadExt, process::Command, time::timeout};

/// How long `bangerd start` may take. It bounds itself below this.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long its last words are waited for once it has ended: a daemon that inherited the pipe must not hold us up.
const WORDS_LIMIT: Duration = Duration::from_millis(200);
/// The longest last words that are read, in bytes.
const MAX_WORDS: u64 = 64 << 10;

/// No daemon came up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// Its program cannot be run.
    #[error("cannot run {}", program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It tried and failed.
    #[error("{}", if words.is_empty() { format!("bangerd start ended with {status}") } else { words.clone() })]
    Failed {
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        words: String,
    },
    /// It did not come to an end.
    #[error("bangerd start did not return within {} s", START_LIMIT.as_secs())]
    Late,
}

/// Starts a daemon and waits until it answers.
pub(super) async fn daemon() -> Result<(), StartError> {
    let program = program();
    let run = |source| StartError::Run { program: program.clone(), source };
    let mut child = Command::new(&program)
        .arg("start")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(run)?;
    let mut words = Vec::new();
    let mut stderr = child.stderr.take().map(|stderr| stderr.take(MAX_WORDS));
    let mut listen = async |words: &mut Vec<u8>| match &mut stderr {
        Some(stderr) => stderr.read_to_end(words).await.map(drop).unwrap_or_default(),
        None => std::future::pending().await,
    };
    let ended = async {
        tokio::select! {
            status = child.wait() => status,
            () = listen(&mut words) => child.wait().await,
        }
    };
    let status = timeout(START_LIMIT, ended).await.map_err(|_| StartError::Late)?.map_err(run)?;
    if status.success() {
        return Ok(());
    }
    // Its end can be seen before its last words have been read.
    let _ = timeout(WORDS_LIMIT, listen(&mut words)).await;
    let words = String::from_utf8_lossy(&words).trim().trim_start_matches("error: ").to_owned();
    Err(StartError::Failed { status, words })
}

/// The daemon that was built with this client, else the one on the `PATH`.
fn program() -> PathBuf {
    let name = OsString::from("bangerd");
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join(&name)));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| name.into())
}
