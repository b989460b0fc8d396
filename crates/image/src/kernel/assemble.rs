//! Putting a kernel together from its parts.
//!
//! Owns: the folder of one kernel while it is made: boot image, ELF, modules' disk, the modules of the initramfs, manifest.
//! Must not: know where the parts come from. The folder gets its name only when everything in it is whole.

use super::bzimage::{BzImage, BzImageError};
use super::module_disk::{self, ModuleDiskError};
use super::spool::{ModuleError, Spool, Spooled};
use super::store::{FORMAT, Manifest, file};
use super::{InvalidKernel, KernelError, vmlinux};
use crate::cancel::Cancel;
use crate::effect::{self, Output};
use crate::initramfs;
use crate::store::{Existing, Lengths, Staging, Store, StoreError};
use banger_model::Digest;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::path::PathBuf;

/// The largest boot image that is taken, in bytes.
pub(super) const MAX_BOOT_IMAGE: u64 = 256 << 20;

/// A kernel in the making.
pub(super) struct Assembly<'a> {
    /// What errors call it.
    subject: String,
    staging: Staging,
    spool: Spool,
    core: Option<Core>,
    cancel: &'a Cancel,
}

/// The kernel itself.
struct Core {
    release: String,
    digest: [u8; 32],
    boot_image: bool,
    pvh: bool,
}

impl<'a> Assembly<'a> {
    pub(super) fn new(store: &Store, subject: String, cancel: &'a Cancel) -> Result<Self, KernelError> {
        let staging = store.stage()?;
        let scratch = effect::scratch(staging.path()).map_err(StoreError::io("make a file in", staging.path()))?;
        Ok(Self { subject, staging, spool: Spool::new(scratch), core: None, cancel })
    }

    /// The kernel as boot image: its ELF is taken out.
    pub(super) fn boot_image(&mut self, image: &[u8]) -> Result<(), KernelError> {
        let parsed = BzImage::parse(image).map_err(|error| self.bzimage(error))?;
        let path = self.path(file::BOOT_IMAGE);
        effect::write(&path, image).map_err(StoreError::io("write", path))?;
        let mut elf = self.create(file::ELF)?;
        parsed.unpack(&mut elf).map_err(|error| self.bzimage(error))?;
        let pvh = self.inspect(elf.file())?.pvh;
        let (release, digest) = (parsed.release().to_owned(), Sha256::digest(image).into());
        self.core = Some(Core { release, digest, boot_image: true, pvh });
        Ok(())
    }

    /// The kernel as ELF file.
    pub(super) fn elf(&mut self, mut content: impl Read) -> Result<(), KernelError> {
        let mut elf = self.create(file::ELF)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 256 << 10];
        loop {
            self.check()?;
            let n = match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(source) => return Err(KernelError::Read { path: PathBuf::from(&self.subject), source }),
            };
            hash.update(&buffer[..n]);
            elf.write_all(&buffer[..n]).map_err(StoreError::io("write", self.path(file::ELF)))?;
        }
        let pvh = self.inspect(elf.file())?.pvh;
        let release = vmlinux::release(elf.file()).map_err(|error| self.invalid(error))?;
        self.core = Some(Core { release, digest: hash.finalize().into(), boot_image: false, pvh });
        Ok(())
    }

    /// One file of the module tree; `path` is relative to `/lib/modules/RELEASE`.
    pub(super) fn module_file(&mut self, path: &str, content: &mut dyn Read) -> Result<(), KernelError> {
        self.check()?;
        self.spool.add(path, content).map_err(|error| module(&self.subject, self.staging.path(), error))
    }

    /// Everything has come: makes the rest and puts the kernel into the store.
    pub(super) fn finish(self, store: &Store) -> Result<Digest, KernelError> {
        let Self { subject, staging, spool, core, cancel } = self;
        let invalid = |source| KernelError::Invalid { subject: subject.clone(), source };
        let core = core.ok_or_else(|| invalid(InvalidKernel::NoKernel))?;
        let spooled = spool.finish(&core.release).map_err(|error| module(&subject, staging.path(), error))?;
        let digest = identity(&core, &spooled);

        let disk = staging.path().join(file::MODULES);
        module_disk::write(&spooled, &digest, &disk).map_err(|error| match error {
            ModuleDiskError::Io(source) | ModuleDiskError::Ext4(mkext4::Error::Io(source)) => {
                StoreError::io("write", &disk)(source).into()
            }
            error => invalid(error.into()),
        })?;
        cancel.check().map_err(|_| KernelError::Cancelled)?;
        let archive = staging.path().join(file::BOOT_MODULES);
        let boot_modules = boot_modules(&spooled, &archive).map_err(StoreError::io("write", &archive))?;

        let manifest = Manifest {
            format: FORMAT,
            release: core.release,
            boot_image: core.boot_image,
            pvh: core.pvh,
            modules: spooled.set.modules().len(),
            boot_modules,
            lengths: Lengths::of(staging.path())?,
        };
        let path = staging.path().join(file::MANIFEST);
        let text = serde_json::to_vec_pretty(&manifest)
            .map_err(|source| KernelError::Record { path: path.clone(), source })?;
        effect::write(&path, &text).map_err(StoreError::io("write", &path))?;
        // One that is there is equal, or was damaged.
        let existing = if super::files(store, &digest).is_ok() { Existing::Keep } else { Existing::Replace };
        staging.place(&store.kernel(&digest), existing)?;
        Ok(digest)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.staging.path().join(name)
    }

    fn create(&self, name: &str) -> Result<Output, KernelError> {
        let path = self.path(name);
        Ok(effect::create(&path).map(Output::to).map_err(StoreError::io("make", path))?)
    }

    fn inspect(&self, mut elf: &File) -> Result<vmlinux::Vmlinux, KernelError> {
        elf.rewind().map_err(StoreError::io("read", self.path(file::ELF)))?;
        vmlinux::inspect(elf).map_err(|error| self.invalid(error))
    }

    fn check(&self) -> Result<(), KernelError> {
        self.cancel.check().map_err(|_| KernelError::Cancelled)
    }

    fn invalid(&self, source: impl Into<InvalidKernel>) -> KernelError {
        KernelError::Invalid { subject: self.subject.clone(), source: source.into() }
    }

    fn bzimage(&self, error: BzImageError) -> KernelError {
        match error {
            BzImageError::Write(source) => StoreError::io("write", self.path(file::ELF))(source).into(),
            error => self.invalid(error),
        }
    }
}

fn module(subject: &str, folder: &std::path::Path, error: ModuleError) -> KernelError {
    match error {
        ModuleError::Scratch(source) => StoreError::io("write in", folder)(source).into(),
        error => KernelError::Invalid { subject: subject.to_owned(), source: error.into() },
    }
}

/// What the kernel was made of, and by which version of this code: the same parts give the same name.
fn identity(core: &Core, spooled: &Spooled) -> Digest {
    let mut hash = Sha256::new();
    hash.update(format!("banger kernel {FORMAT}\n{}\n", core.release));
    hash.update(core.digest);
    spooled.hash_into(&mut hash);
    Digest::from_bytes(hash.finalize().into())
}

/// Writes the archive of the modules that are needed before there is a root file system, and returns their names.
fn boot_modules(spooled: &Spooled, path: &std::path::Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    let mut archive = initramfs::ModuleArchive::new(BufWriter::new(Output::to(effect::create(path)?)))?;
    for (module, devices) in spooled.set.load_order_by_device(initramfs::BOOT_MODULES) {
        let mut bytes = Vec::new();
        spooled.content(&module.path)?.read_to_end(&mut bytes)?;
        archive.module(&module.name, devices, &bytes)?;
        names.push(module.name.clone());
    }
    let written = archive.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    effect::sync(&written.into_inner())?;
    Ok(names)
}
