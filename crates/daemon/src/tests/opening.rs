//! A daemon that cannot be opened whole leaves nothing of itself, and does not keep the next one from opening.

use super::*;
use crate::{
    host::Inventory,
    lifecycle::{Daemon, StartError},
};
use std::{
    fs, io,
    os::unix::fs::symlink,
    sync::atomic::{AtomicBool, Ordering},
};

/// What can be had no more, and how it is mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    DataFolder,
    RuntimeFolder,
    LockFile,
    TakenLock,
    Log,
    Folders,
    Database,
    NewerDatabase,
    Store,
    Socket,
}

const FAULTS: [Fault; 10] = [
    Fault::DataFolder,
    Fault::RuntimeFolder,
    Fault::LockFile,
    Fault::TakenLock,
    Fault::Log,
    Fault::Folders,
    Fault::Database,
    Fault::NewerDatabase,
    Fault::Store,
    Fault::Socket,
];

/// Makes it so; what is returned mends it.
fn plant(fault: Fault, paths: &Paths) -> Box<dyn FnOnce()> {
    /// Something of the wrong kind is in the place, whose own content is kept.
    fn displace(path: PathBuf, by: impl FnOnce(&Path)) -> Box<dyn FnOnce()> {
        let kept = path.with_extension("kept");
        let was_there = fs::rename(&path, &kept).is_ok();
        by(&path);
        Box::new(move || {
            if fs::remove_file(&path).is_err() {
                fs::remove_dir_all(&path).unwrap();
            }
            if was_there {
                fs::rename(kept, path).unwrap();
            }
        })
    }
    let file = |path: &Path| fs::write(path, "in the way").unwrap();
    let folder = |path: &Path| fs::create_dir_all(path.join("full")).unwrap();
    match fault {
        Fault::DataFolder => displace(paths.data.clone(), file),
        Fault::RuntimeFolder => displace(paths.runtime.clone(), |path| symlink("/", path).unwrap()),
        Fault::LockFile => displace(paths.state.join("bangerd.lock"), folder),
        Fault::TakenLock => {
            let lock = fs::OpenOptions::new().create(true).append(true).open(paths.state.join("bangerd.lock")).unwrap();
            rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
            Box::new(move || drop(lock))
        }
        // By the argument that begins the log.
        Fault::Log => Box::new(|| ()),
        Fault::Folders => displace(paths.state.join("vms"), file),
        Fault::Database => displace(paths.state.join("banger.db"), file),
        Fault::NewerDatabase => {
            let database = rusqlite::Connection::open(paths.state.join("banger.db")).unwrap();
            let version: u32 = database.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
            database.pragma_update(None, "user_version", version + 1).unwrap();
            Box::new(move || database.pragma_update(None, "user_version", version).unwrap())
        }
        Fault::Store => displace(paths.data.join("staging"), file),
        Fault::Socket => displace(paths.socket(), folder),
    }
}

async fn open(bench: &Bench, parts: &impl Parts, fault: Option<Fault>) -> Result<Daemon, StartError> {
    let log = move |_: &Paths| match fault {
        Some(Fault::Log) => Err(io::Error::other("planted")),
        _ => Ok(()),
    };
    Daemon::open(bench.paths(), parts, log).await
}

/// Waits until no task is left but the one that asks.
async fn no_task_is_left(what: &str) {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let gone = async {
        while tasks() > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let waited = tokio::time::timeout(BOUND, gone).await;
    assert!(waited.is_ok(), "{what}: {} tasks go on", tasks());
}

/// Each on a host with a VM that runs, so that there is somebody who watches it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_fails_half_way_leaves_nothing_and_the_next_one_opens() {
    for fault in FAULTS {
        let bench = Bench::new();
        let first = open(&bench, &bench.parts(), None).await.unwrap();
        arrange(first.app(), Target::Running).await;
        drop(first);
        no_task_is_left("a daemon that was dropped").await;
        assert!(!bench.paths().socket().exists(), "a daemon that was dropped leaves its socket");

        let mend = plant(fault, &bench.paths());
        let failed = open(&bench, &bench.parts(), Some(fault)).await.map(drop).unwrap_err();
        let told = verbs::chain(&failed);
        let said = match fault {
            Fault::DataFolder => matches!(failed, StartError::Folder(_)),
            Fault::RuntimeFolder => matches!(failed, StartError::Folder(_)),
            Fault::LockFile | Fault::TakenLock => matches!(failed, StartError::Instance(_)),
            Fault::Log => matches!(failed, StartError::Log { .. }),
            Fault::Folders => matches!(failed, StartError::Vms { .. }),
            Fault::Database | Fault::NewerDatabase => matches!(failed, StartError::Db { .. }),
            Fault::Store => matches!(failed, StartError::Store(_)),
            Fault::Socket => matches!(failed, StartError::Listen { .. }),
        };
        assert!(said, "{fault:?}: {told}");
        no_task_is_left(&format!("{fault:?}")).await;
        assert!(!bench.paths().socket().is_file(), "{fault:?}");
        mend();

        // The lock is free and so is the socket's place; the VM runs on, and is watched.
        let next = open(&bench, &bench.parts(), None).await.unwrap_or_else(|error| panic!("{fault:?}: {error:?}"));
        bench.assert_settled(next.app()).await;
        let vm = next.app().named(&name("box")).await.unwrap();
        bench.world.end(vm.id, banger_model::api::vm::EndReason::PoweredOff);
        until(next.app(), |vm| vm.is_some_and(|vm| vm.target == Target::Stopped)).await;
        tokio::net::UnixStream::connect(next.socket()).await.unwrap();
        next.close("by a test").await;
        no_task_is_left("a daemon that was closed").await;
        assert!(!bench.paths().socket().exists(), "{fault:?}");
    }
    println!("opening: {} faults", FAULTS.len());
}

/// A host that cannot be looked at, once.
struct Blind {
    parts: Modelled,
    blind: Arc<AtomicBool>,
}

impl Parts for Blind {
    fn db(&self, path: &Path, vms: usize) -> Result<Db, DbError> {
        self.parts.db(path, vms)
    }

    fn agent(&self) -> PathBuf {
        self.parts.agent()
    }

    fn host(&self, _: &Paths, _: &BootFiles, _: &ConfigFile, db: &Db) -> Arc<dyn Host> {
        let blind = Arc::clone(&self.blind);
        Arc::new(FakeHost::new(Arc::clone(&self.parts.world), db.clone()).looking_with(move |inventory: Inventory| {
            match blind.swap(false, Ordering::Relaxed) {
                true => Err(io::ErrorKind::PermissionDenied.into()),
                false => Ok(inventory),
            }
        }))
    }

    fn host_facts(&self) -> HostFacts {
        self.parts.host_facts()
    }
}

/// The first look may fail; the daemon answers all the same, and looks again soon.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_look_that_fails_is_made_up_for() {
    let bench = Bench::new();
    bench.world.strand(banger_model::VmId::from_entropy([9; 16]), Target::Running);
    let parts = Blind { parts: bench.parts(), blind: Arc::new(AtomicBool::new(true)) };
    let daemon = open(&bench, &parts, None).await.unwrap();
    assert!(!parts.blind.load(Ordering::Relaxed) && !bench.world.inventory().is_empty(), "it did not look");
    tokio::net::UnixStream::connect(daemon.socket()).await.unwrap();
    let looked = async {
        while !bench.world.inventory().is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    // Sooner than the next look that comes anyhow.
    tokio::time::timeout(reconcile::PERIOD / 2, looked).await.expect("it does not look again");
}
