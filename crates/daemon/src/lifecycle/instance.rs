//! One daemon at a time for one state folder: a lock on a file in it, which the kernel lets go however its holder ends.

use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

const FILE: &str = "bangerd.lock";

/// Held as long as the daemon lives.
#[derive(Debug)]
pub(super) struct Instance(#[expect(dead_code, reason = "held for its lock")] File);

/// We are not the daemon of this folder.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstanceError {
    #[error("another bangerd{} serves {}", Process(*pid), folder.display())]
    Taken { folder: PathBuf, pid: Option<u32> },
    #[error("cannot lock {}", path.display())]
    Lock { path: PathBuf, source: io::Error },
}

struct Process(Option<u32>);

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(pid) => write!(f, " (process {pid})"),
            None => Ok(()),
        }
    }
}

/// Becomes the one daemon of the state folder.
pub(super) fn claim(state: &Path) -> Result<Instance, InstanceError> {
    let path = state.join(FILE);
    let failed = |source| InstanceError::Lock { path: path.clone(), source };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut text = String::new();
            let _ = (&file).take(32).read_to_string(&mut text);
            return Err(InstanceError::Taken { folder: state.into(), pid: text.trim().parse().ok() });
        }
        Err(errno) => return Err(failed(errno.into())),
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(failed)?;
    Ok(Instance(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_one_learns_who_is_there() {
        let state = tempfile::tempdir().unwrap();
        let first = claim(state.path()).unwrap();
        match claim(state.path()) {
            Err(InstanceError::Taken { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
            other => panic!("{other:?}"),
        }
        drop(first);
        claim(state.path()).unwrap();
    }
}
