//! The operations that are open, at most one a VM: the schema sees to that.

use super::{
    Db, DbError, change,
    vms::{millis, word},
};
use banger_model::{
    OpId, VmId,
    vm::{Direction, OpenOperation, Verb},
};
use rusqlite::{Connection, params};

/// An operation on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OperationRow {
    pub(crate) op: OpId,
    pub(crate) verb: Verb,
    pub(crate) direction: Direction,
    pub(crate) begun_ms: u64,
}

impl OperationRow {
    /// One that begins now.
    pub(crate) fn begin(op: OpId, verb: Verb) -> Self {
        Self { op, verb, direction: Direction::Forward, begun_ms: crate::clock::now_ms() }
    }

    /// What a status depends on.
    pub(crate) fn open(&self) -> OpenOperation {
        OpenOperation { verb: self.verb, direction: self.direction }
    }

    pub(super) fn insert(&self, tx: &Connection, vm: VmId) -> Result<(), DbError> {
        change(
            tx,
            "INSERT INTO operations (vm, op, verb, direction, begun_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![vm.as_str(), self.op.to_string(), word(&self.verb), word(&self.direction), millis(self.begun_ms)],
        )
    }
}

impl Db {
    /// The VM's operation now takes down what it built.
    pub(crate) async fn turn_back(&self, vm: VmId) -> Result<(), DbError> {
        self.write("turn back", move |tx| {
            change(
                tx,
                "UPDATE operations SET direction = ?2 WHERE vm = ?1",
                params![vm.as_str(), word(&Direction::Unwinding)],
            )
        })
        .await
    }

    /// The ids of all open operations.
    #[cfg(test)]
    pub(crate) async fn operations(&self) -> Result<Vec<OpId>, DbError> {
        self.run(|tx| {
            let mut statement = tx.prepare("SELECT op FROM operations")?;
            let mut rows = statement.query([])?;
            let mut ops = Vec::new();
            while let Some(row) = rows.next()? {
                ops.push(super::vms::from_word("an operation id", row.get(0)?)?);
            }
            Ok(ops)
        })
        .await
    }
}
