//! The whole daemon on a host that is modelled, with a real database: what verbs do, what is left when they fail, and what
//! the next daemon makes of one that was killed.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "how much was tried is for the reader of the log")]

mod figures;
mod http;
mod lives;
mod matrix;
mod opening;
mod records;
mod recovery;
mod schedules;
mod serial;
mod store;
mod storm;

use crate::{
    App,
    boot_files::BootFiles,
    config::ConfigFile,
    db::{Db, DbError, VmRow},
    host::{
        Host,
        fake::{FakeHost, World},
    },
    host_facts::HostFacts,
    leases::Lease,
    op::OpCx,
    reconcile, resource,
    root::Parts,
    verbs::{self, VerbError},
};
use banger_model::{
    ByteSize, VmName,
    api::{op::OpEvent, vm::CreateVm},
    paths::Paths,
    vm::{Target, Verb},
};
use serial::Call;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::mpsc;

/// Longest that anything may take here: hundreds of daemons at once, each with a database of its own, on a disk that others
/// keep busy.
const BOUND: Duration = Duration::from_secs(120);

/// A machine with its disks: what stays when a daemon is killed.
struct Bench {
    folder: tempfile::TempDir,
    world: Arc<World>,
}

impl Bench {
    fn new() -> Self {
        // In memory where that can be had: nothing here is about losing power.
        let memory = Path::new("/dev/shm");
        Self::in_folder(tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()).unwrap())
    }

    fn in_folder(folder: tempfile::TempDir) -> Self {
        store::furnish(folder.path());
        Self { folder, world: Arc::default() }
    }

    /// A daemon on it, that does what it is called to do and nothing by itself.
    fn daemon(&self) -> Arc<App> {
        crate::root::assemble(self.paths(), &self.parts()).unwrap()
    }

    fn paths(&self) -> Paths {
        let paths = paths_in(self.folder.path());
        std::fs::create_dir_all(&paths.state).unwrap();
        paths
    }

    fn parts(&self) -> Modelled {
        Modelled { world: Arc::clone(&self.world), agent: store::agent(self.folder.path()), db: None }
    }

    async fn assert_settled(&self, app: &App) {
        assert_settled(app, &self.world).await;
    }
}

/// The folders of a daemon, in one.
fn paths_in(root: &Path) -> Paths {
    Paths {
        data: store::data(root),
        state: root.join("state"),
        runtime: root.join("run"),
        config: root.join("config.toml"),
    }
}

/// The parts of a daemon on a modelled host.
struct Modelled {
    world: Arc<World>,
    agent: PathBuf,
    /// Instead of the one in the daemon's folder.
    db: Option<Db>,
}

impl Parts for Modelled {
    fn db(&self, path: &Path, vms: usize) -> Result<Db, DbError> {
        match &self.db {
            Some(db) => Ok(db.clone()),
            None => Ok(Db::open(path, vms)?.in_world(Arc::clone(&self.world))),
        }
    }

    fn agent(&self) -> PathBuf {
        self.agent.clone()
    }

    fn host(&self, _: &Paths, _: &BootFiles, _: &ConfigFile, db: &Db) -> Arc<dyn Host> {
        Arc::new(FakeHost::new(Arc::clone(&self.world), db.clone()))
    }

    fn host_facts(&self) -> HostFacts {
        HostFacts { cpus: 4, memory_total: ByteSize::gib(8) }
    }
}

/// What is on record and what is there agree, no operation is open, and each VM has exactly what its target needs.
async fn assert_settled(app: &App, world: &World) {
    let rows = app.db.vms().await.unwrap();
    assert!(app.db.operations().await.unwrap().is_empty(), "{rows:?}");
    let mut inventory = world.inventory();
    for row in &rows {
        let present = inventory.remove(&row.id).unwrap_or_default();
        assert!(resource::up_to(row.target).eq(present.resources), "{row:?}");
        assert_eq!(present.vmm_alive, row.target == Target::Running);
        // By this a later daemon knows that its guest is what was asked for.
        let known = row.boot.as_ref().map(|boot| !boot.boot_id.is_empty());
        assert_eq!(known, (row.target == Target::Running).then_some(true), "{row:?}");
    }
    assert!(inventory.is_empty(), "left over: {inventory:?}");
}

/// Kills a daemon: whatever it was about, it does no more.
fn kill(app: Arc<App>) {
    app.shutdown.cancel();
}

fn name(text: &str) -> VmName {
    text.parse().unwrap()
}

fn begin(app: &App) -> (OpCx, mpsc::Receiver<OpEvent>) {
    app.operations.begin(crate::clock::new_op(), "a test".into()).unwrap()
}

/// The VM "box" at the target.
async fn arrange(app: &App, target: Target) {
    if target >= Target::Stopped {
        act(app, Verb::Create).await.unwrap();
    }
    if target == Target::Running {
        act(app, Verb::Start).await.unwrap();
    }
}

/// The verb on the VM "box".
async fn act(app: &App, verb: Verb) -> Result<(), VerbError> {
    let (cx, _events) = begin(app);
    act_as(app, verb, &cx).await
}

async fn act_as(app: &App, verb: Verb, cx: &OpCx) -> Result<(), VerbError> {
    act_with(app, &name("box"), Call::Verb(verb), cx).await
}

/// The call on the VM of that name.
async fn act_with(app: &App, name: &VmName, call: Call, cx: &OpCx) -> Result<(), VerbError> {
    match call {
        Call::Verb(Verb::Create) => create(app, Some(name.as_str()), false, cx).await.map(drop),
        Call::Verb(Verb::Start) => verbs::start::start(app, name, cx).await.map(drop),
        Call::Verb(Verb::Restart) => verbs::restart::restart(app, name, cx).await.map(drop),
        Call::Verb(verb @ (Verb::Stop | Verb::Kill)) => verbs::stop::stop(app, name, verb, cx).await.map(drop),
        Call::Verb(Verb::Delete) => verbs::delete::delete(app, name, None, true, cx).await,
        Call::DeleteAtRest => verbs::delete::delete(app, name, None, false, cx).await,
        Call::End => Ok(()),
    }
}

async fn create(app: &App, name: Option<&str>, rm: bool, cx: &OpCx) -> Result<(VmRow, Option<Lease>), VerbError> {
    let request = CreateVm { name: name.map(self::name), memory: Some(ByteSize::mib(128)), rm, ..CreateVm::default() };
    let made = verbs::create::create(app, request, cx).await?;
    Ok((made.vm, made.lease))
}

/// Waits until `holds` is true of the VM's row.
async fn until(app: &App, holds: impl Fn(Option<&VmRow>) -> bool) {
    let look = async {
        while !holds(app.db.vm_named(&name("box")).await.unwrap().as_ref()) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(BOUND, look).await.expect("it never came to that");
}

/// Looks at everything, until nobody acts any more: who watches a VM that has ended may be at it already.
async fn look(app: &App) {
    let looks = async {
        loop {
            reconcile::all(app).await.unwrap();
            if app.db.operations().await.unwrap().is_empty() {
                return;
            }
        }
    };
    tokio::time::timeout(BOUND, looks).await.expect("it is never settled");
}
