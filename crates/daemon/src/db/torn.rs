//! A damaged database: refused with a way out and left as it is, or read as it was. Never half of it, never a new one in the
//! place of one that had VMs.

use super::{Db, DbError, OperationRow, VmRow, vms::tests::new_vm};
use banger_damage::{Damage, all, in_full};
use banger_model::{
    OpId,
    vm::{Direction, Target, Verb},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

const SEED: u64 = 20_261_125;
/// Layout of the write-ahead log: <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>.
const LOG_HEADER: usize = 32;
const FRAME: usize = 24 + 4096;

/// One damage in so many; all with `BANGER_SOAK`.
fn stride() -> usize {
    if std::env::var_os("BANGER_SOAK").is_some() { 1 } else { 4 }
}

/// A folder where syncing costs nothing, if there is one: what is tested here is not the disk.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn log_of(path: &Path) -> PathBuf {
    path.with_extension("db-wal")
}

/// Some VMs, one after the other, and what is on record after each transaction.
async fn furnish(db: &Db, count: u8) -> Vec<Vec<VmRow>> {
    let mut states = vec![db.vms().await.unwrap()];
    for seed in 1..=count {
        let vm = new_vm(&format!("box-{seed}"), seed);
        let operation = |verb| OperationRow {
            op: OpId::from_entropy([seed; 16]),
            verb,
            direction: Direction::Forward,
            begun_ms: u64::from(seed),
        };
        db.intend_create(vm.clone(), operation(Verb::Create)).await.unwrap();
        states.push(db.vms().await.unwrap());
        if seed % 3 != 0 {
            db.settle(vm.id, Target::Stopped).await.unwrap();
            states.push(db.vms().await.unwrap());
        }
    }
    states
}

/// What becomes of the database there. A refusal is in full, and has changed nothing.
async fn read(path: &Path, vms: usize) -> Result<Vec<VmRow>, String> {
    let files = [path.to_owned(), log_of(path)];
    // A log without anything in it is none.
    let bytes = || files.clone().map(|file| fs::read(file).unwrap_or_default());
    let before = bytes();
    match Db::open(path, vms) {
        Ok(db) => Ok(db.vms().await.unwrap()),
        Err(error) => {
            assert!(bytes() == before, "what is refused is left as it is: {}", in_full(&error));
            let way_out = matches!(error, DbError::Damaged(_) | DbError::Lost { .. } | DbError::Newer { .. });
            assert!(way_out, "{}", in_full(&error));
            Err(in_full(&error))
        }
    }
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "the counts are part of what is shown")]
async fn a_damaged_database_is_refused_and_left_alone_or_read_as_it_was() {
    let folder = folder();
    let path = folder.path().join("banger.db");
    let db = Db::open(&path, 0).unwrap();
    let truth = furnish(&db, 40).await.pop().unwrap();
    drop(db);
    let whole = fs::read(&path).unwrap();
    assert!(!log_of(&path).exists(), "the log was written into the database");
    let (mut tried, mut refused) = (0, 0);
    for damage in all(whole.len(), SEED).into_iter().step_by(stride()).chain([Damage::Cut(0)]) {
        let bytes = damage.of(&whole);
        let _none = fs::remove_file(log_of(&path));
        fs::write(&path, &bytes).unwrap();
        tried += 1;
        match read(&path, 40).await {
            Ok(rows) => assert!(rows == truth, "{damage}: {} VMs for {}", rows.len(), truth.len()),
            Err(text) => {
                refused += 1;
                assert!(text.contains("copy of it") || text.contains("newer"), "{damage}: {text}");
            }
        }
    }
    println!("TORN banger.db ({} bytes, seed {SEED}): {tried} damages; {refused} refused", whole.len());
    assert!(refused > tried / 2);
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "the counts are part of what is shown")]
async fn a_torn_log_is_an_earlier_state_and_never_a_mixture() {
    let folder = folder();
    let path = folder.path().join("banger.db");
    let db = Db::open(&path, 0).unwrap();
    let states = furnish(&db, 5).await;
    let (base, log) = (fs::read(&path).unwrap(), fs::read(log_of(&path)).unwrap());
    let shared = fs::read(path.with_extension("db-shm")).unwrap();
    drop(db);
    let state = |rows: &[VmRow]| states.iter().position(|known| known == rows);
    let put = |log: &[u8], shared: Option<&[u8]>| {
        fs::write(&path, &base).unwrap();
        fs::write(log_of(&path), log).unwrap();
        match shared {
            Some(bytes) => fs::write(path.with_extension("db-shm"), bytes).unwrap(),
            None => drop(fs::remove_file(path.with_extension("db-shm"))),
        }
    };
    let (mut tried, mut latest) = (0, 0);
    let frames = (log.len() - LOG_HEADER) / FRAME;
    for frame in 0..frames.min(48) {
        for inside in [0, 1, 24, 2000] {
            let at = LOG_HEADER + frame * FRAME + inside;
            let noise = Damage::Noise { from: at, to: at + 512, seed: SEED + at as u64 };
            for damage in [Damage::Cut(at), Damage::Unwritten(at), noise] {
                put(&damage.of(&log), None);
                let rows = read(&path, 5).await.unwrap_or_else(|text| panic!("{damage}: {text}"));
                let found = state(&rows).unwrap_or_else(|| panic!("{damage}: a state that never was"));
                assert!(found >= latest, "{damage}: the longer the log, the later the state");
                latest = if matches!(damage, Damage::Cut(_)) { found } else { latest };
                tried += 1;
            }
        }
    }
    // The index of the log is made anew whatever it holds.
    for damage in all(shared.len(), SEED).into_iter().step_by(8) {
        put(&log, Some(&damage.of(&shared)));
        assert_eq!(state(&read(&path, 5).await.unwrap()), Some(states.len() - 1), "{damage} of the log's index");
        tried += 1;
    }
    println!("TORN banger.db-wal, banger.db-shm (seed {SEED}): {tried} damages of {} states", states.len());
}

#[tokio::test]
async fn a_database_that_is_gone_or_empty_is_a_new_one_only_where_there_are_no_vms() {
    let folder = folder();
    let path = folder.path().join("banger.db");
    for present in [false, true] {
        if present {
            fs::write(&path, "").unwrap();
            fs::write(log_of(&path), "what may be left of it").unwrap();
        }
        let text = read(&path, 3).await.unwrap_err();
        assert!(text.contains("the disks of 3 VMs") && text.contains("copy of it"), "{text}");
        assert_eq!(path.exists(), present);
    }
    // Nothing but its header, as if it had never been used.
    fs::remove_file(log_of(&path)).unwrap();
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    drop(connection);
    assert!(fs::metadata(&path).unwrap().len() > 0);
    read(&path, 3).await.unwrap_err();
    assert_eq!(read(&path, 0).await.unwrap(), []);
    fs::remove_file(&path).unwrap();
    assert_eq!(read(&path, 0).await.unwrap(), []);
}
