//! The first root file system of every guest: the agent, and the modules it loads to find the real one.
//!
//! Owns: what is in it, and keeping one per kernel and agent. Must not: know how kernels are made. Content: the agent as
//! `/init`, `/dev/console`, and in `/modules` the modules as `NN-NAME.ko` with `/modules/order`, one file name a line, in
//! the order in which they load. It is two archives, one behind the other, as the kernel allows: the agent's, and the
//! modules', which is made once with the kernel.

mod cpio;

use crate::kernel::file;
use crate::store::{Store, StoreError, atomic};
use banger_model::Digest;
use cpio::Archive;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// The version of the content. Part of every initramfs' digest.
const FORMAT: u32 = 1;

/// The modules that a guest needs before it has its root: the virtual machine's devices, and the overlay. What they depend
/// on comes along; what the kernel has built in is left out.
pub(crate) const BOOT_MODULES: [&str; 13] = [
    "virtio",
    "virtio_ring",
    "virtio_mmio",
    "virtio_blk",
    "failover",
    "net_failover",
    "virtio_net",
    "virtio_console",
    "virtio_rng",
    "vsock",
    "vmw_vsock_virtio_transport_common",
    "vmw_vsock_virtio_transport",
    "overlay",
];

/// Why there is no initramfs.
#[derive(Debug, thiserror::Error)]
pub enum InitramfsError {
    /// The agent cannot be read.
    #[error("cannot read the guest agent {}", path.display())]
    Agent {
        /// The agent's file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The agent is a program that needs others.
    #[error("the guest agent {} is not a static program for x86-64", path.display())]
    NotStatic {
        /// The agent's file.
        path: PathBuf,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The initramfs for that kernel and that agent; made if it is not there yet.
///
/// # Errors
/// When the agent cannot be read or is not static, the kernel is not in the store, or the store fails.
pub fn ensure(store: &Store, kernel: &Digest, agent: &Path) -> Result<PathBuf, InitramfsError> {
    let program = std::fs::read(agent).map_err(|source| InitramfsError::Agent { path: agent.to_owned(), source })?;
    let mut hash = Sha256::new();
    hash.update(format!("banger initramfs {FORMAT}\n"));
    hash.update(kernel.as_bytes());
    hash.update(&program);
    let path = store.initramfs(&Digest::from_bytes(hash.finalize().into()));
    if path.exists() {
        return Ok(path);
    }
    if !is_static(&program) {
        return Err(InitramfsError::NotStatic { path: agent.to_owned() });
    }
    let staging = store.stage()?;
    let made = staging.path().join("initramfs");
    let modules = store.kernel(kernel).join(file::BOOT_MODULES);
    let mut modules = File::open(&modules).map_err(StoreError::io("read", &modules))?;
    let mut write = || -> io::Result<()> {
        let mut out = agent_archive(BufWriter::new(File::create_new(&made)?), &program)?;
        io::copy(&mut modules, &mut out)?;
        out.flush()
    };
    write().map_err(StoreError::io("write", &path))?;
    atomic::rename_over(&made, &path).map_err(StoreError::io("write", &path))?;
    Ok(path)
}

/// Writes the part that has the agent.
fn agent_archive<W: Write>(out: W, program: &[u8]) -> io::Result<W> {
    let mut archive = Archive::new(out);
    archive.folder("dev")?;
    // The kernel opens it for the agent's first three descriptors, before any devtmpfs is mounted.
    archive.character_device("dev/console", 0o600, (5, 1))?;
    archive.file("init", 0o755, program)?;
    archive.finish()
}

/// Whether `program` is an ELF file for this architecture that names no loader: nothing else is in the initramfs.
fn is_static(program: &[u8]) -> bool {
    let Ok(elf) = elf::ElfBytes::<elf::endian::LittleEndian>::minimal_parse(program) else { return false };
    let mut segments = elf.segments().into_iter().flatten();
    elf.ehdr.e_machine == elf::abi::EM_X86_64 && !segments.any(|segment| segment.p_type == elf::abi::PT_INTERP)
}

/// Writes the part that has the modules, in the order in which they load.
pub(crate) struct ModuleArchive<W> {
    archive: Archive<W>,
    order: String,
    count: usize,
}

impl<W: Write> ModuleArchive<W> {
    pub(crate) fn new(out: W) -> io::Result<Self> {
        let mut archive = Archive::new(out);
        archive.folder("modules")?;
        Ok(Self { archive, order: String::new(), count: 0 })
    }

    /// The next module.
    pub(crate) fn module(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        let file = format!("{:02}-{name}.ko", self.count);
        self.count += 1;
        self.archive.file(&format!("modules/{file}"), 0o644, content)?;
        self.order.push_str(&file);
        self.order.push('\n');
        Ok(())
    }

    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.archive.file("modules/order", 0o644, self.order.as_bytes())?;
        self.archive.finish()
    }
}
