//! The VMs that users want.

use super::{Db, DbError, OperationRow, change};
use banger_model::{
    VmId, VmName,
    api::vm::{BootEnd, LeftOver},
    spec::{Accel, VmSpec, VmmKind},
    vm::Target,
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// A VM on record, with the operation that is open on it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct VmRow {
    pub(crate) id: VmId,
    pub(crate) name: VmName,
    pub(crate) target: Target,
    pub(crate) spec: VmSpec,
    pub(crate) created_ms: u64,
    pub(crate) boots: u32,
    /// Deleted when the client that asked for it has gone.
    pub(crate) rm: bool,
    /// The boot under way, from before its VMM is started until its end has been seen.
    pub(crate) boot: Option<BootRow>,
    pub(crate) last_end: Option<BootEnd>,
    pub(crate) operation: Option<OperationRow>,
    /// What could not be removed when its last operation, or reconcile, went down to its target.
    pub(crate) left: Vec<LeftOver>,
}

/// What was decided and learnt about a boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BootRow {
    pub(crate) vmm: VmmKind,
    pub(crate) accel: Accel,
    pub(crate) reason: String,
    pub(crate) started_ms: u64,
    #[serde(default)]
    pub(crate) kernel_release: String,
    #[serde(default)]
    pub(crate) boot_id: String,
    #[serde(default)]
    pub(crate) warnings: Vec<String>,
}

/// A VM that does not exist yet.
#[derive(Debug, Clone)]
pub(crate) struct NewVm {
    pub(crate) id: VmId,
    pub(crate) name: VmName,
    pub(crate) spec: VmSpec,
    pub(crate) created_ms: u64,
    pub(crate) rm: bool,
}

const SELECT: &str =
    "SELECT id, name, target, spec, created_ms, boots, rm, boot, last_end, left_over, op, verb, direction, begun_ms
    FROM vms LEFT JOIN operations ON vm = id";

/// A unit enum as the text that serde gives it.
pub(super) fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

pub(super) fn from_word<T: DeserializeOwned>(what: &'static str, word: String) -> Result<T, DbError> {
    serde_json::from_value(serde_json::Value::String(word)).map_err(|source| DbError::Record { what, source })
}

fn from_json<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, DbError> {
    serde_json::from_str(text).map_err(|source| DbError::Record { what, source })
}

fn to_json<T: Serialize>(what: &'static str, value: &T) -> Result<String, DbError> {
    serde_json::to_string(value).map_err(|source| DbError::Record { what, source })
}

/// SQLite's integers are signed; none of ours gets near the limit.
pub(super) fn millis(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

pub(super) fn from_millis(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or(0)
}

fn read(row: &Row<'_>) -> Result<VmRow, DbError> {
    let id: String = row.get("id")?;
    let name: String = row.get("name")?;
    let operation = match row.get::<_, Option<String>>("op")? {
        Some(op) => Some(OperationRow {
            op: from_word("an operation id", op)?,
            verb: from_word("a verb", row.get("verb")?)?,
            direction: from_word("a direction", row.get("direction")?)?,
            begun_ms: from_millis(row.get("begun_ms")?),
        }),
        None => None,
    };
    let boot: Option<String> = row.get("boot")?;
    let last_end: Option<String> = row.get("last_end")?;
    let left: Option<String> = row.get("left_over")?;
    Ok(VmRow {
        id: id.parse().map_err(|_| DbError::Value { what: "a VM's id", value: id })?,
        name: name.parse().map_err(|_| DbError::Value { what: "a VM's name", value: name })?,
        target: from_word("a target", row.get("target")?)?,
        spec: from_json("a VM", &row.get::<_, String>("spec")?)?,
        created_ms: from_millis(row.get("created_ms")?),
        boots: row.get("boots")?,
        rm: row.get("rm")?,
        boot: boot.map(|text| from_json("a boot", &text)).transpose()?,
        last_end: last_end.map(|text| from_json("the end of a boot", &text)).transpose()?,
        operation,
        left: left.map(|text| from_json("what is left of a VM", &text)).transpose()?.unwrap_or_default(),
    })
}

impl Db {
    /// All VMs, sorted by name.
    pub(crate) async fn vms(&self) -> Result<Vec<VmRow>, DbError> {
        self.run(all).await
    }

    /// The VM of that name.
    pub(crate) async fn vm_named(&self, name: &VmName) -> Result<Option<VmRow>, DbError> {
        let name = name.to_string();
        self.run(move |tx| one(tx, "name", &name)).await
    }

    /// The VM of that id.
    pub(crate) async fn vm(&self, id: VmId) -> Result<Option<VmRow>, DbError> {
        self.run(move |tx| one(tx, "id", id.as_str())).await
    }

    /// The write-ahead point of a create: the VM and its open operation, in one transaction. `None`, and nothing written,
    /// when another VM has the name.
    pub(crate) async fn intend_create(&self, vm: NewVm, operation: OperationRow) -> Result<Option<VmRow>, DbError> {
        let spec = to_json("a VM", &vm.spec)?;
        self.write("intend", move |tx| {
            let taken = tx.prepare_cached("SELECT 1 FROM vms WHERE name = ?1")?.exists([vm.name.as_str()])?;
            if taken {
                return Ok(None);
            }
            change(
                tx,
                "INSERT INTO vms (id, name, target, spec, created_ms, rm) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![vm.id.as_str(), vm.name.as_str(), word(&Target::Stopped), spec, millis(vm.created_ms), vm.rm],
            )?;
            operation.insert(tx, vm.id)?;
            one(tx, "id", vm.id.as_str())
        })
        .await
    }

    /// The write-ahead point of every other verb. With `boot`, the VM is about to have another boot.
    pub(crate) async fn intend(
        &self,
        id: VmId,
        target: Target,
        operation: OperationRow,
        boot: Option<BootRow>,
    ) -> Result<(), DbError> {
        let boot = boot.map(|boot| to_json("a boot", &boot)).transpose()?;
        self.write("intend", move |tx| {
            change(tx, "UPDATE vms SET target = ?2 WHERE id = ?1", params![id.as_str(), word(&target)])?;
            if let Some(boot) = boot {
                change(tx, "UPDATE vms SET boots = boots + 1, boot = ?2 WHERE id = ?1", params![id.as_str(), boot])?;
            }
            operation.insert(tx, id)
        })
        .await
    }

    /// Within an operation that has ended one boot: another one is about to begin.
    pub(crate) async fn next_boot(&self, id: VmId, boot: BootRow) -> Result<(), DbError> {
        let boot = to_json("a boot", &boot)?;
        self.write("next boot", move |tx| {
            change(tx, "UPDATE vms SET boots = boots + 1, boot = ?2 WHERE id = ?1", params![id.as_str(), boot])
        })
        .await
    }

    /// What a boot turned out to be.
    pub(crate) async fn note_boot(&self, id: VmId, boot: BootRow) -> Result<(), DbError> {
        let boot = to_json("a boot", &boot)?;
        self.write("note boot", move |tx| {
            change(tx, "UPDATE vms SET boot = ?2 WHERE id = ?1", params![id.as_str(), boot])
        })
        .await
    }

    /// How a boot ended; there is none under way after that.
    pub(crate) async fn note_end(&self, id: VmId, end: BootEnd) -> Result<(), DbError> {
        let end = to_json("the end of a boot", &end)?;
        self.write("note end", move |tx| {
            change(tx, "UPDATE vms SET boot = NULL, last_end = ?2 WHERE id = ?1", params![id.as_str(), end])
        })
        .await
    }

    /// The VM is no longer tied to a client.
    pub(crate) async fn keep(&self, id: VmId) -> Result<(), DbError> {
        self.write("keep", move |tx| change(tx, "UPDATE vms SET rm = 0 WHERE id = ?1", [id.as_str()])).await
    }

    /// Closes the VM's operation with the target that was reached, and gives the VM as it is by then, which whoever comes
    /// next may change. [`Target::Absent`] removes the row, which goes last of all.
    pub(crate) async fn settle(&self, id: VmId, reached: Target) -> Result<Option<VmRow>, DbError> {
        self.write("settle", move |tx| {
            if reached == Target::Absent {
                change(tx, "DELETE FROM vms WHERE id = ?1", [id.as_str()])?;
            } else {
                let update = "UPDATE vms SET target = ?2, left_over = NULL WHERE id = ?1";
                change(tx, update, params![id.as_str(), word(&reached)])?;
                change(tx, "DELETE FROM operations WHERE vm = ?1", [id.as_str()])?;
            }
            one(tx, "id", id.as_str())
        })
        .await
    }

    /// Closes the VM's operation short of the target that it went down to: some of it could not be removed. The row stays
    /// until it is, also that of a VM that is to be absent.
    pub(crate) async fn leave(&self, id: VmId, target: Target, left: &[LeftOver]) -> Result<(), DbError> {
        let left = to_json("what is left of a VM", &left)?;
        self.write("leave", move |tx| {
            let update = "UPDATE vms SET target = ?2, left_over = ?3 WHERE id = ?1";
            change(tx, update, params![id.as_str(), word(&target), left])?;
            change(tx, "DELETE FROM operations WHERE vm = ?1", [id.as_str()])
        })
        .await
    }
}

/// All VMs, sorted by name.
pub(super) fn all(connection: &Connection) -> Result<Vec<VmRow>, DbError> {
    let mut statement = connection.prepare_cached(&format!("{SELECT} ORDER BY name"))?;
    let mut rows = statement.query([])?;
    let mut vms = Vec::new();
    while let Some(row) = rows.next()? {
        vms.push(read(row)?);
    }
    Ok(vms)
}

fn one(tx: &Connection, column: &str, value: &str) -> Result<Option<VmRow>, DbError> {
    let mut statement = tx.prepare_cached(&format!("{SELECT} WHERE {column} = ?1"))?;
    statement.query_row([value], |row| Ok(read(row))).optional()?.transpose()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::db::in_memory;
    use banger_model::{
        ByteSize, Digest, OpId,
        spec::{NetMode, VmmChoice},
        vm::{Direction, Verb},
    };

    pub(crate) fn new_vm(name: &str, seed: u8) -> NewVm {
        NewVm {
            id: VmId::from_entropy([seed; 16]),
            name: name.parse().unwrap(),
            spec: VmSpec {
                vcpu: 1,
                memory: ByteSize::mib(512),
                disk: ByteSize::gib(8),
                image: "debian-bookworm".parse().unwrap(),
                image_digest: Digest::from_bytes([1; 32]),
                kernel: "debian".parse().unwrap(),
                kernel_digest: Digest::from_bytes([2; 32]),
                vmm: VmmChoice::Auto,
                limits: Default::default(),
                net: NetMode::None,
            },
            created_ms: 1,
            rm: false,
        }
    }

    fn operation(verb: Verb, seed: u8) -> OperationRow {
        OperationRow { op: OpId::from_entropy([seed; 16]), verb, direction: Direction::Forward, begun_ms: 5 }
    }

    #[tokio::test]
    async fn a_name_is_taken_once() {
        let db = in_memory();
        let written = db.intend_create(new_vm("box", 1), operation(Verb::Create, 1)).await.unwrap().unwrap();
        assert_eq!(db.intend_create(new_vm("box", 2), operation(Verb::Create, 2)).await.unwrap(), None);
        assert_eq!(db.vms().await.unwrap(), [written]);
    }

    #[tokio::test]
    async fn one_operation_at_a_time() {
        let db = in_memory();
        let vm = new_vm("box", 1);
        db.intend_create(vm.clone(), operation(Verb::Create, 1)).await.unwrap();
        assert!(db.intend(vm.id, Target::Running, operation(Verb::Start, 2), None).await.is_err());
        let row = db.vm(vm.id).await.unwrap().unwrap();
        assert_eq!((row.target, row.operation.unwrap().verb), (Target::Stopped, Verb::Create));
        db.settle(vm.id, Target::Stopped).await.unwrap();
        db.intend(vm.id, Target::Running, operation(Verb::Start, 2), None).await.unwrap();
    }

    #[tokio::test]
    async fn settling_as_absent_removes_all_of_it() {
        let db = in_memory();
        let vm = new_vm("box", 1);
        db.intend_create(vm.clone(), operation(Verb::Create, 1)).await.unwrap();
        assert_eq!(db.settle(vm.id, Target::Absent).await.unwrap(), None);
        assert_eq!(db.vm(vm.id).await.unwrap(), None);
        assert!(db.operations().await.unwrap().is_empty());
    }
}
