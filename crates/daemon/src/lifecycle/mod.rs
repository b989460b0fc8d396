//! The daemon as a process: from its folders and its lock to a socket that answers, and to its end.
//!
//! Order matters: folders, then the lock that makes us the only one, then the log, the database and the socket. Whoever
//! holds the lock may take over what a dead daemon left. VMs outlive the daemon, so its end leaves them alone.

mod chores;
mod daemon;
mod folders;
mod instance;
mod log;
mod run;
mod serve;
mod socket;
mod start;

#[cfg(test)]
pub(crate) use daemon::Daemon;
pub(crate) use instance::InstanceError;
#[cfg(test)]
pub(crate) use log::begin as begin_log;
pub(crate) use run::run;
#[cfg(test)]
pub(crate) use run::runtime;
pub(crate) use start::start;

use crate::{db::DbError, host::HostError};
use banger_model::paths::{NoHome, PathFacts, Paths};
use std::{io, path::PathBuf};

/// No daemon came up. The text is what a user reads.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Home(#[from] NoHome),
    #[error(transparent)]
    Folder(#[from] folders::FolderError),
    #[error(transparent)]
    Instance(#[from] InstanceError),
    #[error("cannot write the log {}", path.display())]
    Log { path: PathBuf, source: io::Error },
    #[error("cannot open the database {}", path.display())]
    Db { path: PathBuf, source: DbError },
    #[error("cannot tell which VMs are on this host")]
    Vms { source: HostError },
    #[error(transparent)]
    Store(#[from] banger_image::store::StoreError),
    #[error("cannot listen on {}", path.display())]
    Listen { path: PathBuf, source: io::Error },
    #[error("cannot tell where the program of this process is")]
    OwnProgram { source: io::Error },
    #[error("cannot run {}", program.display())]
    Run { program: PathBuf, source: io::Error },
    #[error("the daemon did not come up within {seconds} s; its log is {}", log.display())]
    Late { seconds: u64, log: PathBuf },
    #[error("{words}")]
    Child { words: String },
    #[error("cannot set up the asynchronous runtime")]
    Runtime { source: io::Error },
}

/// How `bangerd run` says that another instance has the lock, so that `bangerd start` knows it without reading words
/// (`EX_TEMPFAIL` of sysexits.h).
pub(crate) const EXIT_TAKEN: u8 = 75;

/// Where everything is, by the rule that clients follow too.
fn paths() -> Result<Paths, StartError> {
    let uid = rustix::process::getuid().as_raw();
    let run_user = PathBuf::from(format!("/run/user/{uid}")).is_dir();
    Ok(Paths::from_env(|name| std::env::var_os(name), &PathFacts { uid, run_user })?)
}
