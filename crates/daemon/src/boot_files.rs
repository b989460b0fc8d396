//! What a VM boots from that is not its own: the kernel, and the initramfs with the agent that was built with this daemon.

use crate::task::Mutex;
use banger_image::{
    initramfs::{self, InitramfsError},
    kernel::{self, KernelError, KernelFiles},
    store::Store,
};
use banger_model::Digest;
use std::{
    collections::{BTreeSet, HashMap},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Finds them.
#[derive(Debug, Clone)]
pub(crate) struct BootFiles {
    store: Store,
    agent: PathBuf,
    /// The initramfs of each kernel that was looked into, and what it and its agent were then. One start asks three times, and
    /// looking reads and hashes all of both.
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    looked_into: HashMap<Digest, Seen>,
    /// All that were handed out, by kernel: somebody may be about to boot one, also when its agent was replaced since.
    handed_out: HashMap<Digest, BTreeSet<PathBuf>>,
}

#[derive(Debug, Clone)]
struct Seen {
    path: PathBuf,
    initramfs: Stamp,
    agent: Stamp,
}

/// What a file is, as far as its inode tells: any write to it changes that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    length: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let meta = fs::metadata(path).ok()?;
        let (inode, changed) = ((meta.dev(), meta.ino()), (meta.ctime(), meta.ctime_nsec()));
        Some(Self { inode, length: meta.len(), changed })
    }
}

impl BootFiles {
    /// `agent` is the guest's static program.
    pub(crate) fn new(store: Store, agent: PathBuf) -> Self {
        Self { store, agent, known: Arc::default() }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// The initramfs of a kernel; made if it is not there, or damaged. Blocks.
    pub(crate) fn initramfs(&self, kernel: &Digest) -> Result<PathBuf, InitramfsError> {
        // Held to the end, so that none is pruned which is being made.
        let mut known = self.known.lock();
        // Before it is read: an agent that is replaced meanwhile is another one.
        let agent = Stamp::of(&self.agent);
        if let Some(seen) = known.looked_into.get(kernel)
            && agent == Some(seen.agent)
            && Stamp::of(&seen.path) == Some(seen.initramfs)
        {
            return Ok(seen.path.clone());
        }
        let path = initramfs::ensure(&self.store, kernel, &self.agent)?;
        known.handed_out.entry(*kernel).or_default().insert(path.clone());
        if let (Some(agent), Some(initramfs)) = (agent, Stamp::of(&path)) {
            known.looked_into.insert(*kernel, Seen { path: path.clone(), initramfs, agent });
        }
        Ok(path)
    }

    /// Removes every initramfs that is not made any more: its kernel has gone, or its agent was replaced before this daemon
    /// began. Says how many. Blocks.
    pub(crate) fn prune(&self) -> Result<usize, InitramfsError> {
        let mut known = self.known.lock();
        known.handed_out.retain(|kernel, _| self.store.kernel(kernel).is_dir());
        let handed_out = |path: &Path| known.handed_out.values().any(|paths| paths.contains(path));
        initramfs::prune(&self.store, &self.agent, handed_out)
    }

    /// The kernel's own files. Blocks.
    pub(crate) fn kernel(&self, digest: &Digest) -> Result<KernelFiles, KernelError> {
        kernel::files(&self.store, digest).map(|(_, files)| files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_write_to_a_file_changes_its_stamp_and_so_does_another_in_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("file"), folder.path().join("other"));
        fs::write(&path, "one").unwrap();
        fs::write(&other, "two").unwrap();
        let first = Stamp::of(&path);
        assert!(first.is_some() && first == Stamp::of(&path));
        fs::rename(&other, &path).unwrap();
        let second = Stamp::of(&path);
        assert_ne!(second, first);
        fs::write(&path, "longer").unwrap();
        assert_ne!(Stamp::of(&path), second);
        fs::remove_file(&path).unwrap();
        assert_eq!(Stamp::of(&path), None);
    }
}
