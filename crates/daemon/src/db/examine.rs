//! Looks at a database before anything is written to it: one that is damaged is refused as it is, so that what can be saved
//! still can be. One that has lost its VMs must not look like a new one, because then the VMs' disks would be orphans, and
//! orphans are removed.

use super::{DbError, migrations, vms};
use rusqlite::{Connection, ErrorCode, config::DbConfig};
use std::{fs, io, path::Path};

/// Opens the database at `path` for what is written afterwards. `vms` is how many VMs have left a folder on the host.
pub(super) fn open(path: &Path, vms: usize) -> Result<Connection, DbError> {
    let length = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        found => found.map_err(DbError::Look)?.len(),
    };
    if length == 0 && vms > 0 {
        return Err(DbError::Lost { vms });
    }
    let connection = Connection::open(path)?;
    // A log that belongs to a damaged database would be written into it at the end.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    if length > 0 {
        look(&connection, vms)
            .map_err(|error| if is_damage(&error) { DbError::Damaged(error.into()) } else { error })?;
    }
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Ok(connection)
}

/// Its pages, its schema and every row of it.
fn look(connection: &Connection, vms: usize) -> Result<(), DbError> {
    let found: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if found != "ok" {
        return Err(DbError::Check { found });
    }
    let tables: u32 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match migrations::version(connection)? {
        0 if tables > 0 => Err(DbError::Check { found: "it has tables, but no version".into() }),
        0 if vms > 0 => Err(DbError::Lost { vms }),
        version if version == migrations::KNOWN => vms::all(connection).map(drop),
        version => migrations::refuse_newer(version),
    }
}

/// Whether what was found is the database's fault, and not that of the disk or of whoever else has it open.
fn is_damage(error: &DbError) -> bool {
    match error {
        DbError::Sqlite(rusqlite::Error::SqliteFailure(failure, _)) => !matches!(
            failure.code,
            ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::PermissionDenied
                | ErrorCode::ReadOnly
                | ErrorCode::DiskFull
                | ErrorCode::OutOfMemory
        ),
        DbError::Sqlite(_) | DbError::Check { .. } | DbError::Record { .. } | DbError::Value { .. } => true,
        _ => false,
    }
}
