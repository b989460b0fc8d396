//! The root of the daemon: its services are built here, once, out of its parts.
//!
//! A test builds the same daemon with [`Parts`] of its own: another host, another database.

use crate::{
    App,
    boot_files::BootFiles,
    config::ConfigFile,
    db::{Db, DbError},
    host::{
        Host,
        real::{self, RealHost},
    },
    host_facts::HostFacts,
    lifecycle::StartError,
    prepare::Prepare,
};
use banger_image::store::Store;
use banger_model::paths::Paths;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// What may be something else in a test.
pub(crate) trait Parts {
    /// The database at that path; `vms` have left a folder on the host.
    fn db(&self, path: &Path, vms: usize) -> Result<Db, DbError>;

    /// The agent that goes into guests.
    fn agent(&self) -> PathBuf;

    /// The host that VMs run on.
    fn host(&self, paths: &Paths, boot_files: &BootFiles, config: &ConfigFile, db: &Db) -> Arc<dyn Host>;

    /// What it has.
    fn host_facts(&self) -> HostFacts;
}

/// Builds every service, each from those before it.
///
/// # Errors
/// When one cannot be had. Those that were built are gone again.
pub(crate) fn assemble(paths: Paths, parts: &impl Parts) -> Result<Arc<App>, StartError> {
    let config = ConfigFile::new(paths.config.clone());
    let database = paths.state.join("banger.db");
    let vms = real::vms_with_folders(&paths).map_err(|source| StartError::Vms { source })?;
    let db = parts.db(&database, vms).map_err(|source| StartError::Db { path: database, source })?;
    let store = Store::open(paths.data.clone())?;
    match real::sweep_unfinished(&paths) {
        0 => {}
        count => tracing::info!(count, "files that a daemon before left half written were removed"),
    }
    let boot_files = BootFiles::new(store, parts.agent());
    let host = parts.host(&paths, &boot_files, &config, &db);
    let prepare = Prepare::new(boot_files, config.clone());
    Ok(App::new(crate::app::Services { paths, config, host_facts: parts.host_facts(), db, host, prepare }))
}

/// This program on this machine.
pub(crate) struct Installed {
    /// Where it lies, with the programs that belong to it beside it.
    folder: PathBuf,
}

impl Installed {
    /// Beside this very program.
    pub(crate) fn here() -> Result<Self, StartError> {
        let program = std::env::current_exe().map_err(|source| StartError::OwnProgram { source })?;
        Ok(Self { folder: program.parent().map(Path::to_owned).unwrap_or_default() })
    }
}

impl Parts for Installed {
    fn db(&self, path: &Path, vms: usize) -> Result<Db, DbError> {
        Db::open(path, vms)
    }

    fn agent(&self) -> PathBuf {
        self.folder.join("banger-agent")
    }

    fn host(&self, paths: &Paths, boot_files: &BootFiles, config: &ConfigFile, _: &Db) -> Arc<dyn Host> {
        Arc::new(RealHost::new(paths, boot_files.clone(), config.clone(), self.folder.join("banger-usernet")))
    }

    fn host_facts(&self) -> HostFacts {
        HostFacts::measure()
    }
}
