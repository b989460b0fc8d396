//! A process that serves a VM beside its VMM, such as the filter of its user-mode network: started like a VMM, found again
//! like a VMM, and outliving the daemon like a VMM.
//!
//! What a companion program has to do: name its VM as `--vm ID` and the socket it is for as `--socket PATH` in its
//! arguments, so that [`crate::scan::companions`] finds it without a record; write the line `ready` to its stdout once it can be
//! used, and nothing else there ever; say on stderr what went wrong; end by itself when it is of no more use.

use crate::confine::Confinement;
use crate::console;
use crate::process::{Companion, Exit, Process, WatchError};
use crate::record::CompanionRecord;
use crate::spawn::{self, Plan, SpawnError};
use banger_model::VmId;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, PipeReader};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

/// What a companion says when it can be used.
pub const READY: &[u8] = b"ready\n";
/// How long it may take to say so.
const READY_BOUND: Duration = Duration::from_secs(15);
/// How long a killed one may take to go.
const KILL_BOUND: Duration = Duration::from_secs(5);
/// How many of a failed companion's last words are in the error.
const LOG_LINES: usize = 8;

/// A companion to be.
#[derive(Debug, Clone)]
pub struct CompanionConfig {
    /// The VM that it serves.
    pub vm: VmId,
    /// Its program's file.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Where its stderr goes. Truncated at the start.
    pub log: PathBuf,
    /// Where its identity is kept while it runs.
    pub record: PathBuf,
    /// The control group that it is put into before it runs, an existing folder.
    pub cgroup: Option<PathBuf>,
}

/// A companion that was not started. No process is left behind.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message says what it is")]
pub enum CompanionError {
    #[error("cannot prepare {}", path.display())]
    Prepare { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error(transparent)]
    Watch(#[from] WatchError),
    #[error("{} ended before it was ready: {exit}{}", program.display(), console::Said(log))]
    Died { program: PathBuf, exit: Exit, log: Vec<String> },
    #[error("{} was not ready within {} seconds{}", program.display(), READY_BOUND.as_secs(), console::Said(log))]
    Silent { program: PathBuf, log: Vec<String> },
    #[error("the start was interrupted")]
    Interrupted,
}

impl Companion {
    /// Starts it and waits until it is ready. Its record is on disk before the process does anything, and the process
    /// lives on when we die. Not to be cancelled half-way: a dropped start may leave a process that its record leads to.
    ///
    /// # Errors
    /// When the system refuses, or it ends or stays silent instead; its last words are in the error.
    pub async fn start(config: &CompanionConfig) -> Result<Self, CompanionError> {
        let owned = config.clone();
        let (record, pidfd, stdout) =
            tokio::task::spawn_blocking(move || spawn(&owned)).await.map_err(|_| CompanionError::Interrupted)??;
        let companion = Process::watch(record, pidfd)?;
        let program = || config.program.clone();
        let log = || console::tail(&config.log, LOG_LINES).unwrap_or_default();
        let cause = match tokio::time::timeout(READY_BOUND, says_ready(stdout)).await {
            Ok(true) => return Ok(companion),
            // It has closed its stdout: most likely it is about to be seen dead, which tells more.
            Ok(false) => match tokio::time::timeout(KILL_BOUND, companion.exited()).await {
                Ok(exit) => CompanionError::Died { program: program(), exit, log: log() },
                Err(_) => CompanionError::Silent { program: program(), log: log() },
            },
            Err(_) => CompanionError::Silent { program: program(), log: log() },
        };
        // The cause is what the caller must hear of; a process that survives this is found by its record.
        if companion.kill_and_wait(KILL_BOUND).await.is_ok() {
            let _ = std::fs::remove_file(&config.record);
        }
        Err(cause)
    }
}

type Spawned = (CompanionRecord, crate::pidfd::PidFd, PipeReader);

fn spawn(config: &CompanionConfig) -> Result<Spawned, CompanionError> {
    let log = fresh(&config.log).map_err(|source| CompanionError::Prepare { path: config.log.clone(), source })?;
    let run = |source| SpawnError::Run { program: config.program.clone(), source };
    let (ours, theirs) = io::pipe().map_err(run)?;
    let plan = Plan {
        program: &config.program,
        args: config.args.clone(),
        stdout: theirs.into(),
        stderr: log.into(),
        inherited: None,
        confinement: Confinement::of_companion(),
        record: &config.record,
        cgroup: config.cgroup.as_deref(),
    };
    let (vm, binary) = (config.vm, config.program.clone());
    let (record, pidfd) = spawn::spawn(plan, |identity| CompanionRecord { identity, vm, binary })?;
    Ok((record, pidfd, ours))
}

/// Whether the word comes before the end of what it says.
async fn says_ready(stdout: PipeReader) -> bool {
    let Ok(mut stdout) = pipe::Receiver::from_owned_fd(stdout.into()) else { return false };
    let mut word = [0; READY.len()];
    stdout.read_exact(&mut word).await.is_ok() && word == READY
}

/// An empty file, for its owner only, that several may append to.
pub(crate) fn fresh(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    file.set_len(0)?;
    Ok(file)
}
