//! The first root file system of every guest: the agent, and the modules it loads to find the real one.
//!
//! Owns: what is in it, and keeping one per kernel and agent. Must not: know how kernels are made. Content: the agent as
//! `/init`, `/dev/console`, and in `/modules` the modules as `NN-NAME.ko` with `/modules/order`, a line for each
//! ([`BootModule`]) in the order in which they load. It is two archives, one behind the other, as the kernel allows: the agent's, and the
//! modules', which is made once with the kernel.

mod cpio;

use crate::effect::{self, Output};
use crate::kernel::file;
use crate::store::{Store, StoreError, atomic};
use banger_model::Digest;
use banger_model::wire::boot_module::{BootModule, VirtioType};
use cpio::Archive;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// The version of the content. Part of every initramfs' digest.
const FORMAT: u32 = 1;

/// The modules that a guest needs before it has its root: the virtual machine's devices, and the overlay. What they depend
/// on comes along; what the kernel has built in is left out; and which of them a guest loads is up to the devices it has.
pub(crate) const BOOT_MODULES: [&str; 8] = [
    "virtio_mmio",
    "virtio_blk",
    "virtio_net",
    "virtio_console",
    "virtio_rng",
    "virtio_balloon",
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
    let program = read_agent(agent)?;
    let path = store.initramfs(&identity(kernel, &program));
    if !is_static(&program) {
        return Err(InitramfsError::NotStatic { path: agent.to_owned() });
    }
    let modules = store.kernel(kernel).join(file::BOOT_MODULES);
    let mut modules = File::open(&modules).map_err(StoreError::io("read", &modules))?;
    let first = agent_archive(Vec::new(), &program).map_err(StoreError::io("write", &path))?;
    if is_made_of(&path, &first, &modules) {
        return Ok(path);
    }
    let staging = store.stage()?;
    let made = staging.path().join("initramfs");
    let mut write = || -> io::Result<()> {
        let mut out = Output::to(effect::create(&made)?);
        out.write_all(&first)?;
        modules.rewind()?;
        io::copy(&mut modules, &mut out)?;
        Ok(())
    };
    write().map_err(StoreError::io("write", &path))?;
    atomic::rename_over(&made, &path).map_err(StoreError::io("write", &path))?;
    Ok(path)
}

/// Removes what no kernel of the store and `agent` make, unless `needed` keeps it: that of a kernel that has gone, or of an
/// agent that was replaced. Says how many are gone. Nobody may be making one meanwhile, with an agent of another make.
///
/// # Errors
/// When the agent or the store cannot be read, or something cannot be removed.
pub fn prune(store: &Store, agent: &Path, needed: impl Fn(&Path) -> bool) -> Result<usize, InitramfsError> {
    let paths = store.digests_of_initramfs()?.into_iter().map(|digest| store.initramfs(&digest));
    let mut doubtful: Vec<PathBuf> = paths.filter(|path| !needed(path)).collect();
    if doubtful.is_empty() {
        return Ok(0);
    }
    let program = read_agent(agent)?;
    // After the files: one that is there belongs to a kernel that was there before it.
    for kernel in store.digests_of_kernels()? {
        let made = store.initramfs(&identity(&kernel, &program));
        doubtful.retain(|path| *path != made);
    }
    for path in &doubtful {
        atomic::remove(path).map_err(StoreError::io("remove", path))?;
    }
    Ok(doubtful.len())
}

fn read_agent(agent: &Path) -> Result<Vec<u8>, InitramfsError> {
    std::fs::read(agent).map_err(|source| InitramfsError::Agent { path: agent.to_owned(), source })
}

/// What it is made of, and by which version of this code.
fn identity(kernel: &Digest, program: &[u8]) -> Digest {
    let mut hash = Sha256::new();
    hash.update(format!("banger initramfs {FORMAT}\n"));
    hash.update(kernel.as_bytes());
    hash.update(program);
    Digest::from_bytes(hash.finalize().into())
}

/// Whether the file at `path` is the archive `first` with `modules` behind it, byte for byte.
/// One that is not was damaged, and is made again: a guest that cannot boot says nothing of why.
fn is_made_of(path: &Path, first: &[u8], modules: &File) -> bool {
    let same = || -> io::Result<bool> {
        let mut file = File::open(path)?;
        if file.metadata()?.len() != first.len() as u64 + modules.metadata()?.len() {
            return Ok(false);
        }
        let mut head = vec![0; first.len()];
        file.read_exact(&mut head)?;
        let (mut rest, mut expected) = (Vec::new(), Vec::new());
        file.read_to_end(&mut rest)?;
        let mut modules = modules;
        modules.read_to_end(&mut expected)?;
        Ok(head == first && rest == expected)
    };
    same().unwrap_or(false)
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

    /// The next module, and the devices that it is for.
    pub(crate) fn module(&mut self, name: &str, devices: BTreeSet<VirtioType>, content: &[u8]) -> io::Result<()> {
        let module = BootModule { file: format!("{:02}-{name}.ko", self.count), devices };
        self.count += 1;
        self.archive.file(&format!("modules/{}", module.file), 0o644, content)?;
        self.order.push_str(&format!("{module}\n"));
        Ok(())
    }

    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.archive.file("modules/order", 0o644, self.order.as_bytes())?;
        self.archive.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF header for x86-64 with one program header of that type.
    fn program(segment: u32) -> Vec<u8> {
        let mut elf = vec![0; 120];
        elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        elf[16] = 3;
        elf[18] = 62;
        elf[20] = 1;
        elf[32] = 64;
        elf[52] = 64;
        elf[54] = 56;
        elf[56] = 1;
        elf[64..68].copy_from_slice(&segment.to_le_bytes());
        elf
    }

    /// A store with a kernel that has two modules to load.
    fn store(dir: &Path) -> (Store, Digest) {
        let store = Store::open(dir.join("store")).unwrap();
        let digest = Digest::from_bytes([7; 32]);
        std::fs::create_dir(store.kernel(&digest)).unwrap();
        let mut modules = ModuleArchive::new(Vec::new()).unwrap();
        modules.module("virtio", BTreeSet::new(), b"first").unwrap();
        modules.module("overlay", [2, 16].into(), b"second!").unwrap();
        std::fs::write(store.kernel(&digest).join(file::BOOT_MODULES), modules.finish().unwrap()).unwrap();
        (store, digest)
    }

    /// Name, mode and content of every entry, as the kernel would see them: it reads archive after archive.
    fn entries(mut bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            assert_eq!(&bytes[..6], b"070701");
            let field = |n: usize| {
                u32::from_str_radix(std::str::from_utf8(&bytes[6 + 8 * n..14 + 8 * n]).unwrap(), 16).unwrap()
            };
            let (mode, size, name) = (field(1), field(6) as usize, field(11) as usize);
            let content = (110 + name).next_multiple_of(4);
            let text = String::from_utf8(bytes[110..110 + name - 1].to_vec()).unwrap();
            if text != "TRAILER!!!" {
                found.push((text, mode, bytes[content..content + size].to_vec()));
            }
            bytes = &bytes[(content + size).next_multiple_of(4)..];
        }
        found
    }

    #[test]
    fn it_holds_the_agent_and_the_modules_in_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let (store, kernel) = store(dir.path());
        let agent = dir.path().join("agent");
        std::fs::write(&agent, program(elf::abi::PT_LOAD)).unwrap();
        let path = ensure(&store, &kernel, &agent).unwrap();
        let entries = entries(&std::fs::read(&path).unwrap());
        let get = |name: &str| entries.iter().find(|entry| entry.0 == name).unwrap_or_else(|| panic!("{name}"));
        assert_eq!((get("init").1, &get("init").2), (0o100_755, &program(elf::abi::PT_LOAD)));
        assert_eq!(get("dev/console").1, 0o020_600);
        assert_eq!(get("modules/order").2, b"00-virtio.ko\n01-overlay.ko 2 16\n");
        assert_eq!(get("modules/01-overlay.ko").2, b"second!");
        let names: Vec<&str> = entries.iter().map(|entry| entry.0.as_str()).collect();
        assert!(
            names.iter().position(|name| *name == "modules")
                < names.iter().position(|name| name.starts_with("modules/"))
        );

        // The same parts give the same file, another agent another.
        assert_eq!(ensure(&store, &kernel, &agent).unwrap(), path);
        let mut other = program(elf::abi::PT_LOAD);
        other.push(0);
        std::fs::write(&agent, other).unwrap();
        assert_ne!(ensure(&store, &kernel, &agent).unwrap(), path);
        assert_eq!(std::fs::read_dir(store.root().join("staging")).unwrap().count(), 0);
    }

    #[test]
    fn those_of_agents_and_kernels_that_are_gone_are_pruned() {
        let dir = tempfile::tempdir().unwrap();
        let (store, kernel) = store(dir.path());
        let other = Digest::from_bytes([8; 32]);
        std::fs::create_dir(store.kernel(&other)).unwrap();
        std::fs::copy(store.kernel(&kernel).join(file::BOOT_MODULES), store.kernel(&other).join(file::BOOT_MODULES))
            .unwrap();
        let agent = dir.path().join("agent");
        let mut program = program(elf::abi::PT_LOAD);
        let mut make = |kernels: &[Digest]| -> Vec<PathBuf> {
            program.push(0);
            std::fs::write(&agent, &program).unwrap();
            kernels.iter().map(|kernel| ensure(&store, kernel, &agent).unwrap()).collect()
        };
        let (first, second, third) = (make(&[kernel, other]), make(&[kernel]), make(&[kernel, other]));
        let there = |paths: &[PathBuf]| paths.iter().map(|path| path.exists()).collect::<Vec<_>>();
        // The second is what somebody is about to boot.
        assert_eq!(prune(&store, &agent, |path| path == second[0]).unwrap(), 2);
        assert_eq!((there(&first), there(&second), there(&third)), (vec![false; 2], vec![true], vec![true; 2]));
        std::fs::remove_dir_all(store.kernel(&other)).unwrap();
        assert_eq!(prune(&store, &agent, |_| false).unwrap(), 2);
        assert_eq!((there(&second), there(&third)), (vec![false], vec![true, false]));
        assert_eq!(prune(&store, &dir.path().join("none"), |path| path == third[0]).unwrap(), 0);
        assert!(matches!(prune(&store, &dir.path().join("none"), |_| false), Err(InitramfsError::Agent { .. })));
        assert_eq!(there(&third), [true, false], "which it is cannot be told without the agent");
    }

    #[test]
    fn an_agent_that_cannot_run_alone_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (store, kernel) = store(dir.path());
        let agent = dir.path().join("agent");
        let mut arm = program(elf::abi::PT_LOAD);
        arm[18] = 183;
        for unusable in [program(elf::abi::PT_INTERP), arm, b"#!/bin/sh\n".to_vec(), Vec::new()] {
            std::fs::write(&agent, unusable).unwrap();
            assert!(matches!(ensure(&store, &kernel, &agent), Err(InitramfsError::NotStatic { .. })));
        }
        let missing = dir.path().join("missing");
        let error = ensure(&store, &kernel, &missing).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot read the guest agent {}", missing.display()));
        std::fs::write(&agent, program(elf::abi::PT_LOAD)).unwrap();
        assert!(matches!(ensure(&store, &Digest::from_bytes([8; 32]), &agent), Err(InitramfsError::Store(_))));
    }
}
