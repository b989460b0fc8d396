//! The schema and how it came to be. `user_version` counts the steps that a database has had; steps are only ever added.

use super::DbError;
use rusqlite::Connection;

const STEPS: [&str; 2] = [
    "
    CREATE TABLE vms (
        id         TEXT PRIMARY KEY,
        name       TEXT NOT NULL UNIQUE,
        target     TEXT NOT NULL,
        spec       TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        boots      INTEGER NOT NULL DEFAULT 0,
        rm         INTEGER NOT NULL,
        boot       TEXT,
        last_end   TEXT
    ) STRICT;
    CREATE TABLE operations (
        vm         TEXT PRIMARY KEY REFERENCES vms (id) ON DELETE CASCADE,
        op         TEXT NOT NULL UNIQUE,
        verb       TEXT NOT NULL,
        direction  TEXT NOT NULL,
        begun_ms   INTEGER NOT NULL
    ) STRICT;
",
    "
    ALTER TABLE vms ADD COLUMN left_over TEXT;
",
];

/// The version that this program makes.
pub(super) const KNOWN: u32 = 2;
const _: () = assert!(STEPS.len() == KNOWN as usize);

/// How many steps the database has had.
pub(super) fn version(connection: &Connection) -> Result<u32, DbError> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

/// Refuses what a later program has made.
pub(super) fn refuse_newer(found: u32) -> Result<(), DbError> {
    if found > KNOWN { Err(DbError::Newer { found, known: KNOWN }) } else { Ok(()) }
}

/// Takes every step that the database has not had, each in a transaction of its own.
pub(super) fn run(connection: &mut Connection) -> Result<(), DbError> {
    let found = version(connection)?;
    refuse_newer(found)?;
    for (version, step) in (1u32..).zip(STEPS).skip(found as usize) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_once_and_refuses_the_future() {
        let mut connection = Connection::open_in_memory().unwrap();
        run(&mut connection).unwrap();
        run(&mut connection).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        assert!(matches!(run(&mut connection), Err(DbError::Newer { found: 99, .. })));
    }
}
