//! Who a process of ours is, such that a later daemon can prove it.
//!
//! Owns: the records, their files, and reading `/proc` for them. A process id alone proves nothing, because ids are reused;
//! with the boot it lived in and the tick at which it started it is unique.

use crate::binary::Version;
use crate::config::Engine;
use banger_model::VmId;
use rustix::process::Pid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// Which process: never true of two, as long as the host's clocks tick.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// `/proc/sys/kernel/random/boot_id` of the host.
    pub boot_id: String,
    /// Its process id.
    pub pid: i32,
    /// When it started, in clock ticks after the host's boot: field 22 of `/proc/PID/stat`.
    pub start_time: u64,
}

/// What is kept on disk about a process that outlives us.
pub trait Record: Serialize + DeserializeOwned + Clone {
    /// Which process it is.
    fn identity(&self) -> &Identity;

    /// Reads the record at `path`; none when there is no such file.
    ///
    /// # Errors
    /// When it is there but cannot be read or is no record.
    fn read(path: &Path) -> Result<Option<Self>, RecordError> {
        match std::fs::read(path) {
            Ok(json) => serde_json::from_slice(&json)
                .map(Some)
                .map_err(|source| RecordError::Parse { path: path.into(), source }),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(RecordError::Io { action: "read", path: path.into(), source }),
        }
    }

    /// Writes it beside `path` and renames it over. It is not synced: it says nothing beyond the host's present boot.
    ///
    /// # Errors
    /// When the file system refuses.
    fn write(&self, path: &Path) -> Result<(), RecordError> {
        let json = serde_json::to_vec(self).map_err(|source| RecordError::Parse { path: path.into(), source })?;
        replace(path, &json).map_err(|source| RecordError::Io { action: "write", path: path.into(), source })
    }
}

/// One VMM process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmmRecord {
    /// Which process.
    #[serde(flatten)]
    pub identity: Identity,
    /// The VM that it runs.
    pub vm: VmId,
    /// What it is.
    pub engine: Engine,
    /// Its program's file.
    pub binary: PathBuf,
    /// Its program's version; unknown when it was found rather than launched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// The folder of its sockets.
    pub runtime_dir: PathBuf,
}

/// One process that serves a VM beside its VMM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompanionRecord {
    /// Which process.
    #[serde(flatten)]
    pub identity: Identity,
    /// The VM that it serves.
    pub vm: VmId,
    /// Its program's file.
    pub binary: PathBuf,
}

impl Record for VmmRecord {
    fn identity(&self) -> &Identity {
        &self.identity
    }
}

impl Record for CompanionRecord {
    fn identity(&self) -> &Identity {
        &self.identity
    }
}

/// A record that cannot be read or kept.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message says what it is")]
pub enum RecordError {
    #[error("cannot {action} the process record {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("the process record {} is damaged: stopping its VM ends what runs and removes it", path.display())]
    Parse { path: PathBuf, source: serde_json::Error },
    #[error("cannot read the identity of process {pid}")]
    Process { pid: i32, source: io::Error },
}

impl Identity {
    /// Of the process that has this id now.
    pub(crate) fn of(pid: Pid) -> io::Result<Self> {
        let start_time = Stat::of(pid)?.start_time;
        Ok(Self { boot_id: boot_id()?, pid: pid.as_raw_nonzero().get(), start_time })
    }

    /// The process id, if it can be one.
    pub(crate) fn pid(&self) -> Option<Pid> {
        // A negative number is asked about nowhere: it would mean a group of processes.
        if self.pid > 0 { Pid::from_raw(self.pid) } else { None }
    }

    /// Whether the process of that id is this one and has not ended. Only meaningful while a pidfd of that process is held;
    /// without one the id may change hands right after.
    pub(crate) fn is_current(&self) -> bool {
        let Some(pid) = self.pid() else { return false };
        boot_id().is_ok_and(|id| id == self.boot_id)
            && Stat::of(pid).is_ok_and(|stat| stat.start_time == self.start_time && !stat.ended)
    }
}

/// A file's new content, so that a reader sees the old or the new; nothing else is left when it cannot be written.
///
/// For what says nothing beyond the host's present boot, as all that this crate keeps: it is not synced, because after a
/// power loss it is about another boot, torn or not. What a killed process leaves beside it is swept by the daemon.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let written = std::fs::write(&beside, content).and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        let _not_there = std::fs::remove_file(&beside);
    }
    written
}

/// The host's present boot.
pub(crate) fn boot_id() -> io::Result<String> {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim_end().to_owned())
}

/// What `/proc/PID/stat` tells about a process's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    /// Clock ticks after the host's boot.
    pub(crate) start_time: u64,
    /// It has ended and waits for its parent to notice. Not so while any thread of it is left: a process that was killed
    /// keeps its files and its memory until the last of them has gone, though the first is a zombie at once.
    pub(crate) ended: bool,
}

impl Stat {
    pub(crate) fn of(pid: Pid) -> io::Result<Self> {
        let text = std::fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero()))?;
        Self::parse(&text).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    /// The second field is the program's name in parentheses and may hold anything, spaces and parentheses included; the
    /// last `)` ends it. The fields are those of proc_pid_stat(5).
    fn parse(text: &[u8]) -> Option<Self> {
        let close = text.iter().rposition(|b| *b == b')')?;
        let rest = std::str::from_utf8(text.get(close + 1..)?).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?;
        // `state` is field 3, so `num_threads`, field 20, is the 17th after it, and `starttime`, field 22, two further.
        let threads: u32 = fields.nth(16)?.parse().ok()?;
        let start_time = fields.nth(1)?.parse().ok()?;
        Some(Self { start_time, ended: matches!(state, "Z" | "X" | "x") && threads <= 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_of_a_program_with_a_vile_name() {
        let text = b"12 (a) R 1 (b)) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 0 0\n";
        assert_eq!(Stat::parse(text), Some(Stat { start_time: 4711, ended: false }));
        assert_eq!(Stat::parse(b"12 (a) Z 1 2 3"), None);
        let zombie = |threads: u32| {
            let text = format!("12 (a) Z 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 {threads} 18 4711 0 0\n");
            Stat::parse(text.as_bytes()).unwrap().ended
        };
        assert!(zombie(1) && !zombie(2), "one that is about to end has not");
        assert_eq!(Stat::parse(b""), None);
    }

    #[test]
    fn we_are_who_we_are_and_nobody_else() {
        let us = Identity::of(rustix::process::getpid()).unwrap();
        assert!(us.start_time > 0 && us.is_current());
        assert!(!Identity { start_time: us.start_time + 1, ..us.clone() }.is_current());
        assert!(!Identity { boot_id: "another".into(), ..us.clone() }.is_current());
        for pid in [0, -1, i32::MAX] {
            assert!(!Identity { pid, ..us.clone() }.is_current());
        }
    }

    #[test]
    fn records_survive_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vmm.json");
        assert!(VmmRecord::read(&path).unwrap().is_none());
        let record = VmmRecord {
            identity: Identity { boot_id: "b".into(), pid: 7, start_time: 8 },
            vm: VmId::from_entropy([3; 16]),
            engine: Engine::QemuTcg,
            binary: "/usr/bin/qemu".into(),
            version: Some(Version { major: 7, minor: 2, patch: 22 }),
            runtime_dir: "/run/x".into(),
        };
        record.write(&path).unwrap();
        assert_eq!(VmmRecord::read(&path).unwrap(), Some(record));
        std::fs::write(&path, b"{").unwrap();
        assert!(matches!(VmmRecord::read(&path), Err(RecordError::Parse { .. })));
    }
}
