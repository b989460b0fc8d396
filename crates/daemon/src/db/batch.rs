//! Group commit: transactions that come while the disk is busy with others are committed, and synced, together.
//!
//! Each is a savepoint of its own, so that one that fails takes no other with it. None is told of its outcome before what it
//! changed, or read, is on disk. Nobody ever waits for others to come: a transaction alone is committed at once.

use super::DbError;
use crate::task::Mutex;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// Tells whoever waits, once it is known whether its batch is on disk.
type Tell = Box<dyn FnOnce(Result<(), DbError>) + Send>;

/// The same, with what is known.
type Told = Box<dyn FnOnce() + Send>;

/// One transaction of many.
type Job = Box<dyn FnOnce(Result<&mut Transaction<'_>, DbError>) -> Tell + Send>;

/// The connection, and who waits for it.
#[derive(Debug)]
pub(super) struct Batches {
    connection: Mutex<Connection>,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    jobs: Vec<Job>,
    /// Somebody takes them.
    served: bool,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("jobs", &self.jobs.len()).field("served", &self.served).finish()
    }
}

impl Batches {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection: Mutex::new(connection), queue: Mutex::default() }
    }

    /// Adds a transaction. Its outcome goes to `tell`, which is dropped when the transaction, or one in its batch, panics.
    /// True when the caller has to [`Batches::serve`]: nobody else does.
    #[must_use]
    pub(super) fn put<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, DbError> + Send + 'static,
        tell: impl FnOnce(Result<T, DbError>) + Send + 'static,
    ) -> bool {
        let job = |transaction: Result<&mut Transaction<'_>, DbError>| -> Tell {
            let outcome = transaction.and_then(|transaction| alone(transaction, work));
            Box::new(|committed| tell(outcome.and_then(|value| committed.map(|()| value))))
        };
        let mut queue = self.queue.lock();
        queue.jobs.push(Box::new(job));
        !std::mem::replace(&mut queue.served, true)
    }

    /// Runs all that waits, and what comes meanwhile. When the last is told, nothing of this is held any more.
    pub(super) fn serve(self: Arc<Self>) {
        let mut next = self.next();
        let mut batches = Some(self);
        while let (Some(jobs), Some(served)) = (next.take(), batches.take()) {
            // After a panic it is rolled back and nobody in it is told anything; the connection itself is sound.
            let told = catch_unwind(AssertUnwindSafe(|| run(&mut served.connection.lock(), jobs))).unwrap_or_default();
            next = served.next();
            batches = next.is_some().then_some(served);
            told.into_iter().for_each(|tell| tell());
        }
    }

    fn next(&self) -> Option<Vec<Job>> {
        let mut queue = self.queue.lock();
        queue.served = !queue.jobs.is_empty();
        queue.served.then(|| std::mem::take(&mut queue.jobs))
    }

    /// Nobody waits, and nobody serves: whoever did has ended with its schedule.
    #[cfg(test)]
    pub(super) fn abandon(&self) {
        *self.queue.lock() = Queue::default();
    }

    #[cfg(test)]
    pub(super) fn connection(&self) -> std::sync::MutexGuard<'_, Connection> {
        self.connection.lock()
    }
}

/// One transaction, of which nothing stays when it fails.
fn alone<T>(
    transaction: &mut Transaction<'_>,
    work: impl FnOnce(&Connection) -> Result<T, DbError>,
) -> Result<T, DbError> {
    let savepoint = transaction.savepoint()?;
    let value = work(&savepoint)?;
    savepoint.commit()?;
    Ok(value)
}

/// What is then to be told.
fn run(connection: &mut Connection, jobs: Vec<Job>) -> Vec<Told> {
    let mut told: Vec<Told> = Vec::with_capacity(jobs.len());
    let mut jobs = jobs.into_iter();
    while jobs.len() > 0 {
        let mut tell = Vec::with_capacity(jobs.len());
        let committed = together(connection, &mut jobs, &mut tell);
        for tell in tell {
            let committed = committed.clone().map_err(DbError::Batch);
            told.push(Box::new(|| tell(committed)));
        }
    }
    told
}

/// As many of them as SQLite lets be one transaction: on a disk that is full it may give up all that was done so far.
fn together(
    connection: &mut Connection,
    jobs: &mut impl Iterator<Item = Job>,
    tell: &mut Vec<Tell>,
) -> Result<(), Arc<rusqlite::Error>> {
    let begun = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(Arc::new);
    let mut transaction = match begun {
        Ok(transaction) => transaction,
        Err(error) => {
            tell.extend(jobs.map(|job| job(Err(DbError::Batch(Arc::clone(&error))))));
            return Err(error);
        }
    };
    for job in jobs {
        tell.push(job(Ok(&mut transaction)));
        if transaction.is_autocommit() {
            return Err(Arc::new(given_up()));
        }
    }
    transaction.commit().map_err(Arc::new)
}

fn given_up() -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ABORT_ROLLBACK);
    rusqlite::Error::SqliteFailure(code, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, channel};

    fn batches() -> Arc<Batches> {
        let connection = Connection::open_in_memory().unwrap();
        let tables = "PRAGMA foreign_keys = ON;
            CREATE TABLE numbers (n INTEGER PRIMARY KEY);
            CREATE TABLE others (n INTEGER REFERENCES numbers (n))";
        connection.execute_batch(tables).unwrap();
        Arc::new(Batches::new(connection))
    }

    /// Not served yet.
    fn put<T: Send + 'static>(
        batches: &Batches,
        work: impl FnOnce(&Connection) -> Result<T, DbError> + Send + 'static,
    ) -> Receiver<Result<T, DbError>> {
        let (told, outcome) = channel();
        let _ = batches.put(work, move |value| told.send(value).unwrap());
        outcome
    }

    fn insert(n: i64) -> impl FnOnce(&Connection) -> Result<(), DbError> {
        move |tx| Ok(tx.execute("INSERT INTO numbers VALUES (?1)", [n]).map(drop)?)
    }

    fn numbers(tx: &Connection) -> Result<Vec<i64>, DbError> {
        let mut statement = tx.prepare("SELECT n FROM numbers ORDER BY n")?;
        let rows = statement.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    #[test]
    fn nobody_is_told_before_all_are_committed_and_one_that_fails_takes_no_other_with_it() {
        let batches = batches();
        let (one, again, two) = (put(&batches, insert(1)), put(&batches, insert(1)), put(&batches, insert(2)));
        let read = put(&batches, numbers);
        assert!(one.try_recv().is_err(), "nobody is told before");
        Arc::clone(&batches).serve();
        one.recv().unwrap().unwrap();
        again.recv().unwrap().unwrap_err();
        two.recv().unwrap().unwrap();
        assert_eq!(read.recv().unwrap().unwrap(), [1, 2]);
    }

    #[test]
    fn one_that_is_half_done_leaves_nothing() {
        let batches = batches();
        let half = put(&batches, |tx| {
            insert(1)(tx)?;
            insert(1)(tx)
        });
        let read = put(&batches, numbers);
        Arc::clone(&batches).serve();
        half.recv().unwrap().unwrap_err();
        assert_eq!(read.recv().unwrap().unwrap(), [0_i64; 0]);
    }

    #[test]
    fn when_they_cannot_be_committed_all_are_told() {
        let batches = batches();
        let one = put(&batches, insert(1));
        let two =
            put(&batches, |tx| Ok(tx.execute_batch("PRAGMA defer_foreign_keys = ON; INSERT INTO others VALUES (9)")?));
        Arc::clone(&batches).serve();
        assert!(matches!(one.recv().unwrap(), Err(DbError::Batch(_))));
        assert!(matches!(two.recv().unwrap(), Err(DbError::Batch(_))));
        let read = put(&batches, numbers);
        Arc::clone(&batches).serve();
        assert_eq!(read.recv().unwrap().unwrap(), [0_i64; 0]);
    }

    #[test]
    fn when_sqlite_gives_up_those_before_are_told_and_those_after_have_a_transaction_of_their_own() {
        let batches = batches();
        let one = put(&batches, insert(1));
        // As SQLite itself does when the disk is full in the middle of a statement.
        let full = put(&batches, |tx| Ok(tx.execute_batch("ROLLBACK")?));
        let three = put(&batches, insert(3));
        let read = put(&batches, numbers);
        Arc::clone(&batches).serve();
        assert!(matches!(one.recv().unwrap(), Err(DbError::Batch(_))));
        full.recv().unwrap().unwrap_err();
        three.recv().unwrap().unwrap();
        assert_eq!(read.recv().unwrap().unwrap(), [3]);
    }

    #[test]
    fn one_that_panics_is_not_told_and_the_next_batch_is_served() {
        let batches = batches();
        let (one, panics) = (put(&batches, insert(1)), put(&batches, |_| -> Result<(), DbError> { panic!("planted") }));
        Arc::clone(&batches).serve();
        assert!(one.recv().is_err() && panics.recv().is_err());
        let read = put(&batches, numbers);
        Arc::clone(&batches).serve();
        assert_eq!(read.recv().unwrap().unwrap(), [0_i64; 0]);
    }

    #[test]
    fn one_serves() {
        let batches = batches();
        assert!(batches.put(insert(1), drop));
        assert!(!batches.put(insert(2), drop));
        Arc::clone(&batches).serve();
        assert!(batches.put(insert(3), drop));
    }
}
