//! What a VM boots from that is not its own: the kernel, and the initramfs with the agent that was built with this daemon.

use banger_image::{
    initramfs::{self, InitramfsError},
    kernel::{self, KernelError, KernelFiles},
    store::Store,
};
use banger_model::Digest;
use std::path::PathBuf;

/// Finds them.
#[derive(Debug, Clone)]
pub(crate) struct BootFiles {
    store: Store,
    agent: PathBuf,
}

impl BootFiles {
    /// `agent` is the guest's static program.
    pub(crate) fn new(store: Store, agent: PathBuf) -> Self {
        Self { store, agent }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// The initramfs of a kernel; made if it is not there. Blocks.
    pub(crate) fn initramfs(&self, kernel: &Digest) -> Result<PathBuf, InitramfsError> {
        initramfs::ensure(&self.store, kernel, &self.agent)
    }

    /// The kernel's own files. Blocks.
    pub(crate) fn kernel(&self, digest: &Digest) -> Result<KernelFiles, KernelError> {
        kernel::files(&self.store, digest).map(|(_, files)| files)
    }
}
