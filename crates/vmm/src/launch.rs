//! From a configuration to a running VMM.
//!
//! Not to be cancelled half-way: a dropped launch may leave a process behind, which its record leads to.

use crate::config::{ConfigError, VmmConfig};
use crate::console;
use crate::pidfd::PidFd;
use crate::process::{Exit, ProcessError, Vmm};
use crate::record::VmmRecord;
use crate::spawn::{self, Plan, SpawnError};
use crate::tsc::TscFacts;
use crate::qemu;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a VMM may take to answer its first question. It takes a tenth of a second on an idle host.
const START_BOUND: Duration = Duration::from_secs(30);
/// How long a killed VMM may take to go.
const KILL_BOUND: Duration = Duration::from_secs(5);
/// How many of a failed VMM's last words are in the error.
const LOG_LINES: usize = 8;

/// A VM that was not started. No process is left behind.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("cannot prepare {}", path.display())]
    Prepare { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// It refused its arguments, or could not open what they name.
    #[error("{} ended at once: {exit}{}", binary.display(), Said(log))]
    Died { binary: PathBuf, exit: Exit, log: Vec<String> },
    /// Neither answering nor dying.
    #[error("{} did not answer within {} seconds{}", binary.display(), START_BOUND.as_secs(), Said(log))]
    Silent { binary: PathBuf, log: Vec<String> },
    #[error("{} does not speak its control protocol", binary.display())]
    Control { binary: PathBuf, source: io::Error },
    #[error("the launch was interrupted")]
    Interrupted,
}

struct Said<'a>(&'a [String]);

impl std::fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            [] => Ok(()),
            lines => write!(f, ": {}", lines.join("; ")),
        }
    }
}

/// Starts the VMM and waits until it runs the guest. Its record is on disk before the process does anything, and the
/// process lives on when we die.
///
/// # Errors
/// When the configuration cannot work, the system refuses, or the VMM ends at once; its last words are in the error.
pub async fn launch(config: &VmmConfig) -> Result<Vmm, LaunchError> {
    config.validate()?;
    let owned = config.clone();
    let (record, pidfd) = tokio::task::spawn_blocking(move || start_process(&owned))
        .await
        .map_err(|_| LaunchError::Interrupted)??;
    let vmm = Vmm::watch(record, pidfd)?;
    let control = config.control_socket();
    let started = tokio::select! {
        biased;
        exit = vmm.exited() => Err(died(config, exit)),
        started = tokio::time::timeout(START_BOUND, qemu::qmp::running(&control)) => match started {
            Ok(Ok(())) => Ok(()),
            // It hung up: most likely it is about to be seen dead, which tells more.
            Ok(Err(source)) => match tokio::time::timeout(KILL_BOUND, vmm.exited()).await {
                Ok(exit) => Err(died(config, exit)),
                Err(_) => Err(LaunchError::Control { binary: config.binary.path.clone(), source }),
            },
            Err(_) => Err(LaunchError::Silent { binary: config.binary.path.clone(), log: last_words(config) }),
        },
    };
    if let Err(cause) = started {
        // The cause is what the caller must hear of; a process that survives this is found by its record.
        if vmm.kill_and_wait(KILL_BOUND).await.is_ok() {
            let _ = std::fs::remove_file(&config.record);
        }
        return Err(cause);
    }
    Ok(vmm)
}

fn start_process(config: &VmmConfig) -> Result<(VmmRecord, PidFd), LaunchError> {
    for socket in [config.agent_socket(), config.control_socket()] {
        match std::fs::remove_file(&socket) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(LaunchError::Prepare { path: socket, source });
            }
            _ => {}
        }
    }
    fresh(&config.console_log)?;
    let log = fresh(&config.vmm_log)?;
    let stderr = log.try_clone().map_err(|source| LaunchError::Prepare { path: config.vmm_log.clone(), source })?;
    let record = VmmRecord {
        vm: config.vm,
        boot_id: String::new(),
        pid: 0,
        start_time: 0,
        engine: config.engine,
        binary: config.binary.path.clone(),
        version: Some(config.binary.version),
        runtime_dir: config.runtime_dir.clone(),
    };
    let args = qemu::args(config, TscFacts::measure());
    Ok(spawn::spawn(Plan { args, stdout: log, stderr, record, path: &config.record })?)
}

/// An empty file that several may append to.
fn fresh(path: &Path) -> Result<File, LaunchError> {
    let failed = |source| LaunchError::Prepare { path: path.into(), source };
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path).map_err(failed)?;
    file.set_len(0).map_err(failed)?;
    Ok(file)
}

fn died(config: &VmmConfig, exit: Exit) -> LaunchError {
    LaunchError::Died { binary: config.binary.path.clone(), exit, log: last_words(config) }
}

fn last_words(config: &VmmConfig) -> Vec<String> {
    console::tail(&config.vmm_log, LOG_LINES).unwrap_or_default()
}
