//! Intent, on disk: the VMs that users want and the operations that are open. SQLite in WAL mode.
//!
//! Durability: `synchronous=FULL`, so a settled operation survives a power loss. A commit costs one fsync of the log, which
//! all transactions that came during the one before it share ([`batch`]); an operation needs two (intend and settle), which is
//! nothing beside a boot.
//!
//! Room for the next transactions is taken at the start ([`reserve`]): on a disk that is full, VMs can still be deleted.
//!
//! A database that is damaged is refused, and not touched ([`examine`]).
//!
//! Every call is a short transaction on one connection. Nothing here knows what the host looks like.

mod batch;
mod examine;
mod migrations;
mod operations;
#[cfg(test)]
mod torn;
mod vms;

pub(crate) use operations::OperationRow;
pub(crate) use vms::{BootRow, NewVm, VmRow};

use crate::task;
use batch::Batches;
use rusqlite::Connection;
use std::{path::Path, sync::Arc};
use tokio::sync::oneshot;

/// What can go wrong with the database.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DbError {
    #[error("the database")]
    Sqlite(#[from] rusqlite::Error),
    /// Of all transactions that were to be committed with it.
    #[error("the database")]
    Batch(#[source] Arc<rusqlite::Error>),
    #[error(
        "it is damaged: put a copy of it in its place, or move its whole folder away to begin without VMs; nothing was \
         changed, and VMs that run go on"
    )]
    Damaged(#[source] Box<Self>),
    #[error(
        "it is empty or gone, but the disks of {vms} VMs are beside it: put a copy of it in its place, or move its whole \
         folder away to begin without them; nothing was changed, and VMs that run go on"
    )]
    Lost { vms: usize },
    #[error("its own check says: {found}")]
    Check { found: String },
    #[error("cannot look at it")]
    Look(#[source] std::io::Error),
    #[error("the database was written by a newer banger (schema {found}, this one knows {known})")]
    Newer { found: u32, known: u32 },
    #[error("the database holds a record of {what} that does not parse")]
    Record { what: &'static str, source: serde_json::Error },
    #[error("the database holds {value:?} for {what}")]
    Value { what: &'static str, value: String },
    #[error("the database thread has ended")]
    Gone,
    #[cfg(test)]
    #[error("planted failure of the write {0:?}")]
    Planted(&'static str),
}

/// A handle to the database; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Db {
    batches: Arc<Batches>,
    /// Where writes can be made to go wrong.
    #[cfg(test)]
    world: Option<Arc<crate::host::fake::World>>,
}

impl Db {
    /// Opens, and brings the schema up to date. `vms` is how many VMs have left a folder on the host.
    pub(crate) fn open(path: &Path, vms: usize) -> Result<Self, DbError> {
        Self::prepare(examine::open(path, vms)?)
    }

    fn prepare(mut connection: Connection) -> Result<Self, DbError> {
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", "ON")?;
        // All that there are.
        connection.set_prepared_statement_cache_capacity(32);
        // A small cache: the whole of a thousand VMs is a few hundred KiB.
        connection.pragma_update(None, "cache_size", "-1024")?;
        migrations::run(&mut connection)?;
        reserve(&connection)?;
        Ok(Self {
            batches: Arc::new(Batches::new(connection)),
            #[cfg(test)]
            world: None,
        })
    }

    /// Runs one transaction that changes something. Each kind has a name: tests make it go wrong on either side.
    async fn write<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        #[cfg(not(test))]
        let _ = name;
        #[cfg(test)]
        self.goes_wrong(name, crate::host::fake::When::Before).await?;
        let value = self.run(work).await?;
        #[cfg(test)]
        self.goes_wrong(name, crate::host::fake::When::After).await?;
        Ok(value)
    }

    #[cfg(test)]
    async fn goes_wrong(&self, name: &'static str, when: crate::host::fake::When) -> Result<(), DbError> {
        match &self.world {
            Some(world) if world.write_goes_wrong(name, when).await => Err(DbError::Planted(name)),
            _ => Ok(()),
        }
    }

    /// Whose writes go wrong as the world says. Not synced: what is tested here is a daemon that dies, not the host.
    #[cfg(test)]
    pub(crate) fn in_world(mut self, world: Arc<crate::host::fake::World>) -> Self {
        self.world = Some(world);
        self.batches.connection().pragma_update(None, "synchronous", "OFF").unwrap();
        self
    }

    /// Runs one transaction off the async threads.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        let (told, outcome) = oneshot::channel();
        let tell = |value| {
            // Nobody may wait for it any more.
            let _ = told.send(value);
        };
        if self.batches.put(work, tell) {
            let batches = Arc::clone(&self.batches);
            task::begin(move || batches.serve());
        }
        outcome.await.map_err(|_| DbError::Gone)?
    }
}

/// One statement that changes something; parsed once.
fn change(tx: &Connection, sql: &str, values: impl rusqlite::Params) -> Result<(), DbError> {
    tx.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// How much, in bytes. Tests have hundreds of databases.
const RESERVE: u32 = if cfg!(test) { 4 << 10 } else { 512 << 10 };

/// Grows the database and its log by more than what is written between two checkpoints, and gives the pages back to the
/// database, not to the disk. The log is used again from its beginning after each checkpoint, and neither file shrinks.
fn reserve(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.pragma_update(None, "wal_autocheckpoint", "32")?;
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE;
         CREATE TABLE reserve (room BLOB);
         INSERT INTO reserve VALUES (zeroblob({RESERVE}));
         DROP TABLE reserve;
         COMMIT;",
    ))?;
    connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()))
}

#[cfg(test)]
pub(crate) fn in_memory() -> Db {
    Db::prepare(Connection::open_in_memory().unwrap()).unwrap()
}

#[cfg(test)]
impl Db {
    /// What was settled last may be lost with the host's power: for a comparison.
    pub(crate) fn sync_less(&self) {
        self.batches.connection().pragma_update(None, "synchronous", "NORMAL").unwrap();
    }

    /// As it was at first.
    pub(crate) fn clear(&self) {
        self.batches.abandon();
        self.batches.connection().execute_batch("DELETE FROM vms").unwrap();
    }
}
