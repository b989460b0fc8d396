//! From a configuration to a running VMM.
//!
//! Not to be cancelled half-way: a dropped launch may leave a process behind, which its record leads to.

use crate::companion::fresh;
use crate::config::{ConfigError, VmmConfig};
use crate::confine::Confinement;
use crate::console;
use crate::firecracker::{self, Api, ApiError};
use crate::pidfd::PidFd;
use crate::process::{Exit, Vmm, WatchError};
use crate::qemu;
use crate::record::VmmRecord;
use crate::spawn::{self, Plan, SpawnError};
use crate::tsc::TscFacts;
use banger_model::spec::VmmKind;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a VMM may take to run its guest. It takes a tenth of a second on an idle host.
pub const START_BOUND: Duration = Duration::from_secs(30);
/// How long a killed VMM may take to go.
const KILL_BOUND: Duration = Duration::from_secs(5);
/// How many of a failed VMM's last words are in the error.
const LOG_LINES: usize = 8;

/// A VM that was not started. No process is left behind.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message says what it is")]
pub enum LaunchError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("cannot prepare {}", path.display())]
    Prepare { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// It refused its arguments, or could not open what they name.
    #[error("{} ended at once: {exit}{}", binary.display(), console::Said(log))]
    Died { binary: PathBuf, exit: Exit, log: Vec<String> },
    /// Neither answering nor dying.
    #[error("{} did not answer within {} seconds{}", binary.display(), bound.as_secs(), console::Said(log))]
    Silent { binary: PathBuf, bound: Duration, log: Vec<String> },
    #[error("{} does not speak its control protocol", binary.display())]
    Qmp { binary: PathBuf, source: io::Error },
    #[error("{} does not start the VM", binary.display())]
    Api { binary: PathBuf, source: ApiError },
    #[error("the launch was interrupted")]
    Interrupted,
}

/// Starts the VMM and waits until it runs the guest, at most [`START_BOUND`]. Its record is on disk before the process does anything, and the
/// process lives on when we die.
///
/// # Errors
/// When the configuration cannot work, the system refuses, or the VMM ends at once; its last words are in the error.
pub async fn launch(config: &VmmConfig) -> Result<Vmm, LaunchError> {
    launch_within(config, START_BOUND).await
}

/// As [`launch`], with another bound.
///
/// # Errors
/// As [`launch`].
pub async fn launch_within(config: &VmmConfig, bound: Duration) -> Result<Vmm, LaunchError> {
    config.validate()?;
    let owned = config.clone();
    let (record, pidfd) =
        tokio::task::spawn_blocking(move || start_process(&owned)).await.map_err(|_| LaunchError::Interrupted)??;
    let vmm = Vmm::watch(record, pidfd)?;
    let started = tokio::select! {
        biased;
        exit = vmm.exited() => Err(died(config, exit)),
        started = tokio::time::timeout(bound, run_guest(config)) => match started {
            Ok(Err(Setback::HungUp(cause))) => Err(match tokio::time::timeout(KILL_BOUND, vmm.exited()).await {
                Ok(exit) => died(config, exit),
                Err(_) => cause,
            }),
            Ok(Err(Setback::Refused(cause))) => Err(cause),
            Ok(Ok(())) => Ok(()),
            Err(_) => Err(LaunchError::Silent { binary: config.binary.path.clone(), bound, log: last_words(config) }),
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

/// Why a VMM does not run its guest.
enum Setback {
    /// It stopped talking: most likely it is about to be seen dead, which tells more.
    HungUp(LaunchError),
    /// It said why.
    Refused(LaunchError),
}

/// Talks with a VMM that has just started until its guest runs. Waits for ever for its socket.
async fn run_guest(config: &VmmConfig) -> Result<(), Setback> {
    let control = config.control_socket();
    let binary = config.binary.path.clone();
    match config.engine.kind() {
        VmmKind::Qemu => {
            qemu::qmp::running(&control).await.map_err(|source| Setback::HungUp(LaunchError::Qmp { binary, source }))
        }
        VmmKind::Firecracker => configure(config, &control).await.map_err(|source| match source {
            ApiError::Refused { .. } | ApiError::Late { .. } | ApiError::Encode { .. } => {
                Setback::Refused(LaunchError::Api { binary, source })
            }
            _ => Setback::HungUp(LaunchError::Api { binary, source }),
        }),
    }
}

/// Makes the machine and starts it, up to the first request that fails.
async fn configure(config: &VmmConfig, control: &Path) -> Result<(), ApiError> {
    let mut api = Api::of_new(control).await?;
    for request in firecracker::requests(config) {
        api.put(&request).await?;
    }
    Ok(())
}

fn start_process(config: &VmmConfig) -> Result<(VmmRecord, PidFd), LaunchError> {
    let prepare = |path: &Path| {
        let path = path.to_owned();
        move |source| LaunchError::Prepare { path, source }
    };
    let net = config.net.as_ref().map(|net| net.socket.clone());
    for socket in [config.agent_socket(), config.control_socket()].into_iter().chain(net) {
        match std::fs::remove_file(&socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(prepare(&socket)(error)),
            _ => {}
        }
    }
    let console = fresh(&config.console_log).map_err(prepare(&config.console_log))?;
    let log = fresh(&config.vmm_log).map_err(prepare(&config.vmm_log))?;
    fresh(&config.metrics).map_err(prepare(&config.metrics))?;
    let again = |log: &File| log.try_clone().map_err(prepare(&config.vmm_log));
    let net = config.net.as_ref().map(|net| listen(&net.socket).map_err(prepare(&net.socket))).transpose()?;
    let (args, stdout) = match config.engine.kind() {
        VmmKind::Qemu => (qemu::args(config, TscFacts::measure(), net.as_ref().map(AsRawFd::as_raw_fd)), again(&log)?),
        // Its serial port is its stdout.
        VmmKind::Firecracker => (firecracker::args(config), console),
    };
    let plan = Plan {
        program: &config.binary.path,
        args,
        stdout: stdout.into(),
        stderr: log.into(),
        inherited: net,
        confinement: Confinement::of_vmm(config),
        record: &config.record,
        cgroup: config.cgroup.as_deref(),
    };
    let described = |identity| VmmRecord {
        identity,
        vm: config.vm,
        engine: config.engine,
        binary: config.binary.path.clone(),
        version: Some(config.binary.version),
        runtime_dir: config.runtime_dir.clone(),
    };
    Ok(spawn::spawn(plan, described)?)
}

/// The socket at which the process connects that is the VM's network: it can at once, however long the VMM takes to come up.
fn listen(socket: &Path) -> io::Result<OwnedFd> {
    UnixListener::bind(socket).map(OwnedFd::from)
}

fn died(config: &VmmConfig, exit: Exit) -> LaunchError {
    LaunchError::Died { binary: config.binary.path.clone(), exit, log: last_words(config) }
}

fn last_words(config: &VmmConfig) -> Vec<String> {
    console::complaints(&config.vmm_log, LOG_LINES).unwrap_or_default()
}
