//! How long the daemon itself takes, without a host that takes any time: `make bench ONLY=daemon` prints it.

use super::*;
use crate::lifecycle::Daemon;
use futures_util::future::join_all;
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

const MANY: usize = 1000;
const RUNNING: usize = 50;
const AT_ONCE: usize = 100;
const RUNS: usize = 21;

/// The parts of a modelled daemon, with a database that is synced as the real one is.
struct Synced {
    parts: Modelled,
    /// Or less.
    normal: AtomicBool,
}

impl Parts for Synced {
    fn db(&self, path: &Path, vms: usize) -> Result<Db, DbError> {
        let db = Db::open(path, vms)?;
        if self.normal.load(Ordering::Relaxed) {
            db.sync_less();
        }
        Ok(db)
    }

    fn agent(&self) -> PathBuf {
        self.parts.agent()
    }

    fn host(&self, _: &Paths, _: &BootFiles, _: &ConfigFile, _: &Db) -> Arc<dyn Host> {
        Arc::new(FakeHost::trusting(Arc::clone(&self.parts.world)))
    }

    fn host_facts(&self) -> HostFacts {
        self.parts.host_facts()
    }
}

/// On a disk, not in memory: what is synced is part of what is measured.
fn on_disk(normal: bool) -> (Bench, Synced) {
    let bench = Bench::in_folder(tempfile::tempdir().unwrap());
    let parts = Synced { parts: bench.parts(), normal: normal.into() };
    (bench, parts)
}

fn show(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

/// A row of the table that the benchmarks print.
fn row(what: &str, time: Duration, against: Option<(&str, Duration)>, limit: Option<Duration>) {
    let verdict = limit.map(|limit| format!("{}  {}", show(limit), if time <= limit { "ok" } else { "OVER" }));
    let (name, theirs) = against.map_or((String::new(), String::new()), |(name, time)| (name.into(), show(time)));
    println!("| {what} | {} | {name} | {theirs} |  | {} |", show(time), verdict.unwrap_or_default());
}

/// The time that `percent` of them do not exceed.
fn percentile(mut times: Vec<Duration>, percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * percent).div_ceil(100) - 1]
}

async fn make(app: &App, vm: &str) -> Duration {
    let (cx, _events) = begin(app);
    let begun = Instant::now();
    create(app, Some(vm), false, &cx).await.unwrap();
    begun.elapsed()
}

async fn boot(app: &App, vm: &str) -> Duration {
    let (cx, _events) = begin(app);
    let begun = Instant::now();
    verbs::start::start(app, &name(vm), &cx).await.unwrap();
    begun.elapsed()
}

/// Median times of a create and a start, one after the other.
async fn in_a_row(normal: bool) -> (Duration, Duration) {
    let (bench, parts) = on_disk(normal);
    let app = crate::root::assemble(bench.paths(), &parts).unwrap();
    let (mut creates, mut starts) = (Vec::new(), Vec::new());
    for n in 0..RUNS {
        let vm = format!("vm-{n}");
        creates.push(make(&app, &vm).await);
        starts.push(boot(&app, &vm).await);
    }
    kill(app);
    (percentile(creates, 50), percentile(starts, 50))
}

/// The slowest but one in a hundred, of many creates at once.
async fn at_once(normal: bool) -> Duration {
    let (bench, parts) = on_disk(normal);
    let app = crate::root::assemble(bench.paths(), &parts).unwrap();
    // As it is after the first.
    make(&app, "first").await;
    let creates = (0..AT_ONCE).map(|n| {
        let app = Arc::clone(&app);
        tokio::spawn(async move { make(&app, &format!("vm-{n}")).await })
    });
    let times = join_all(creates).await.into_iter().map(Result::unwrap).collect();
    kill(app);
    percentile(times, 99)
}

/// From nothing to the first answer.
async fn first_answer() -> Duration {
    let (bench, parts) = on_disk(true);
    let app = crate::root::assemble(bench.paths(), &parts).unwrap();
    for n in 0..MANY {
        let vm = format!("vm-{n}");
        make(&app, &vm).await;
        if n % (MANY / RUNNING) == 0 {
            boot(&app, &vm).await;
        }
    }
    kill(app);
    parts.normal.store(false, Ordering::Relaxed);
    let begun = Instant::now();
    let daemon = Daemon::open(bench.paths(), &parts, |_| Ok(())).await.unwrap();
    let mut stream = UnixStream::connect(daemon.socket()).await.unwrap();
    stream.write_all(b"GET /v1/vms HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let took = begun.elapsed();
    assert_eq!(answer.matches(r#""status":"running""#).count(), RUNNING);
    assert_eq!(answer.matches(r#""status":"stopped""#).count(), MANY - RUNNING);
    took
}

#[test]
#[ignore = "it measures, and judges nothing"]
fn figures() {
    crate::memory::bound();
    crate::lifecycle::runtime().unwrap().block_on(print());
}

async fn print() {
    println!("| what | ours | against | theirs | ratio | at most |\n|---|---|---|---|---|---|");
    let what = format!("daemon, modelled host: start to first answer, {MANY} VMs, {RUNNING} of them running");
    row(&what, first_answer().await, None, Some(Duration::from_secs(1)));
    let ((create, start), (create_less, start_less)) = (in_a_row(false).await, in_a_row(true).await);
    row("daemon, modelled host: create", create, Some(("synchronous=NORMAL", create_less)), None);
    row("daemon, modelled host: start", start, Some(("synchronous=NORMAL", start_less)), None);
    let what = format!("daemon, modelled host: p99 of {AT_ONCE} creates at once");
    let (full, less) = (at_once(false).await, at_once(true).await);
    row(&what, full, Some(("synchronous=NORMAL", less)), Some(Duration::from_millis(20)));
}
