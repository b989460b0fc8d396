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

/// Takes every step that the database has not had, each in a transaction of its own.
pub(super) fn run(connection: &mut Connection) -> Result<(), DbError> {
    let known = u32::try_from(STEPS.len()).unwrap_or(u32::MAX);
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > known {
        return Err(DbError::Newer { found, known });
    }
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
