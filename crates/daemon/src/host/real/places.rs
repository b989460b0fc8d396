//! Where a VM's objects are on the host: pure.

use banger_model::{
    VmId,
    host_name::{VmFile, console_file},
    paths::Paths,
};
use std::path::PathBuf;

/// The folders that hold all VMs.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// One folder a VM, for what outlives a boot.
    pub(super) vms: PathBuf,
    /// One folder a VM, for what does not.
    pub(super) sockets: PathBuf,
    /// Where trials of KVM have their sockets.
    pub(super) trials: PathBuf,
    /// What trials of KVM have shown.
    pub(super) proofs: PathBuf,
}

impl Places {
    pub(super) fn of(paths: &Paths) -> Self {
        Self {
            vms: paths.state.join("vms"),
            sockets: paths.runtime.join("vm"),
            trials: paths.runtime.join("try"),
            proofs: paths.state.join("proofs"),
        }
    }

    /// The VM's own folder.
    pub(super) fn folder(&self, id: VmId) -> PathBuf {
        self.vms.join(id.as_str())
    }

    /// A file in it.
    pub(super) fn file(&self, id: VmId, file: VmFile) -> PathBuf {
        self.folder(id).join(file.file_name())
    }

    /// The console of a boot.
    pub(super) fn console(&self, id: VmId, boot: u32) -> PathBuf {
        self.folder(id).join(console_file(boot))
    }

    /// The folder of its sockets.
    pub(super) fn runtime(&self, id: VmId) -> PathBuf {
        self.sockets.join(id.as_str())
    }

    /// Where its network process listens.
    pub(super) fn net_socket(&self, id: VmId) -> PathBuf {
        self.runtime(id).join("net.sock")
    }
}
