//! Kernels in the store.
//!
//! Owns: the records of names and kernels, and what can be asked of them. Must not: make kernels (that is [`super::assemble`])
//! or know which VMs need one. Layout below the store's root:
//!
//! | path | what |
//! |---|---|
//! | `kernel-names/NAME.json` | which kernel a name means, and where it came from |
//! | `kernels/HEX/vmlinux` | the kernel as ELF |
//! | `kernels/HEX/vmlinuz` | the boot image, if it came as one |
//! | `kernels/HEX/modules.ext4` | what belongs at `/lib/modules/RELEASE`, read-only |
//! | `kernels/HEX/boot-modules.cpio` | the modules' part of every initramfs |
//! | `kernels/HEX/manifest.json` | facts |

use super::KernelError;
use crate::store::{Lengths, Staging, Store, StoreError, atomic};
use banger_model::{ByteSize, Digest, KernelRef};
use serde::{Deserialize, Serialize};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// The version of the layout. Part of every kernel's digest, so that a kernel of an older layout is made anew.
pub(super) const FORMAT: u32 = 3;

/// Files in a kernel's folder.
pub(crate) mod file {
    pub(crate) const BOOT_IMAGE: &str = "vmlinuz";
    pub(crate) const ELF: &str = "vmlinux";
    pub(crate) const MODULES: &str = "modules.ext4";
    pub(crate) const BOOT_MODULES: &str = "boot-modules.cpio";
    pub(crate) const MANIFEST: &str = "manifest.json";
}

/// What is known of a kernel's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the layout.
    pub format: u32,
    /// As `uname -r` prints it.
    pub release: String,
    /// Whether there is a boot image.
    pub boot_image: bool,
    /// Whether QEMU can boot the ELF directly.
    pub pvh: bool,
    /// How many modules it has.
    pub modules: usize,
    /// Those that are loaded from the initramfs, in this order.
    pub boot_modules: Vec<String>,
    /// How long its files are.
    #[serde(default, skip_serializing_if = "Lengths::is_empty")]
    pub lengths: Lengths,
}

impl Manifest {
    /// Whether it is laid out as this program does it; if not, it is made anew when it is pulled.
    pub fn is_current(&self) -> bool {
        self.format == FORMAT
    }
}

/// Where a kernel came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "kebab-case")]
pub enum Origin {
    /// A package of Debian's.
    Debian {
        /// The package.
        package: String,
        /// Its version.
        version: String,
        /// Its checksum.
        sha256: Digest,
    },
    /// The user's own files.
    Import {
        /// The boot image or ELF file.
        kernel: PathBuf,
        /// The folder with its modules.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        modules: Option<PathBuf>,
    },
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Debian { package, version, .. } => write!(f, "{package} {version}"),
            Self::Import { kernel, .. } => write!(f, "{}", kernel.display()),
        }
    }
}

/// What a name means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Name {
    digest: Digest,
    origin: Origin,
    created_ms: u64,
}

/// A kernel of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// Its name.
    pub name: KernelRef,
    /// What it was made of.
    pub digest: Digest,
    /// Where it came from.
    pub origin: Origin,
    /// When it got its name, in milliseconds since the epoch.
    pub created_ms: u64,
    /// What it takes on the disk.
    pub size: ByteSize,
    /// Facts of its content.
    pub manifest: Manifest,
    /// Its files.
    pub files: KernelFiles,
}

/// A kernel's files. They never change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelFiles {
    /// The kernel as ELF.
    pub elf: PathBuf,
    /// The boot image, if it came as one.
    pub boot_image: Option<PathBuf>,
    /// A read-only ext4 image of `/lib/modules/RELEASE`.
    pub modules: PathBuf,
}

/// The kernel that `name` means.
///
/// # Errors
/// [`KernelError::NotFound`] if there is none; when its records cannot be read.
pub fn get(store: &Store, name: &KernelRef) -> Result<Kernel, KernelError> {
    let found = read_name(store, name)?.ok_or_else(|| KernelError::NotFound { name: name.clone() })?;
    describe(store, name.clone(), found)
}

/// All kernels that have a name, sorted by it. Kernels whose records are damaged are left out.
///
/// # Errors
/// When the folder of names cannot be read.
pub fn list(store: &Store) -> Result<Vec<Kernel>, KernelError> {
    let folder = store.kernel_names();
    let entries = fs::read_dir(&folder).map_err(StoreError::io("read the folder", &folder))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".json")?.parse().ok());
    let mut kernels: Vec<Kernel> = names.filter_map(|name: KernelRef| get(store, &name).ok()).collect();
    kernels.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(kernels)
}

/// The files of the kernel with that digest, whatever its names: how a VM finds the kernel it was made with.
///
/// # Errors
/// When there is no such kernel, its manifest cannot be read, or a file of it was cut off.
pub fn files(store: &Store, digest: &Digest) -> Result<(Manifest, KernelFiles), KernelError> {
    let folder = store.kernel(digest);
    let manifest: Manifest = read_json(&folder.join(file::MANIFEST))?;
    manifest.lengths.check(&folder)?;
    let files = KernelFiles {
        elf: folder.join(file::ELF),
        boot_image: manifest.boot_image.then(|| folder.join(file::BOOT_IMAGE)),
        modules: folder.join(file::MODULES),
    };
    Ok((manifest, files))
}

/// Takes `name` away, and with it the kernel, unless another name or `needed` keeps it. Says whether the kernel is gone.
///
/// # Errors
/// [`KernelError::NotFound`] if there is no such name; when something cannot be removed.
pub fn delete(store: &Store, name: &KernelRef, needed: impl Fn(&Digest) -> bool) -> Result<bool, KernelError> {
    let path = name_path(store, name);
    let naming = store.naming(&store.kernel_names())?;
    let digest = match read_name(store, name) {
        Ok(None) => return Err(KernelError::NotFound { name: name.clone() }),
        Ok(Some(found)) => Some(found.digest),
        // A damaged record is no reason to keep it.
        Err(KernelError::Record { .. }) => None,
        Err(error) => return Err(error),
    };
    atomic::remove(&path).map_err(StoreError::io("remove", &path))?;
    let Some(digest) = digest else { return Ok(false) };
    // A name that cannot be read may be this kernel's.
    if needed(&digest) || digests(store).map_or(true, |named| named.contains(&digest)) {
        return Ok(false);
    }
    let _gone = take_away(store, &digest)?;
    drop(naming);
    Ok(true)
}

/// As [`crate::image::prune`], for kernels.
///
/// # Errors
/// As there.
pub fn prune(store: &Store, needed: impl Fn(&Digest) -> bool) -> Result<Vec<Digest>, KernelError> {
    let naming = store.naming(&store.kernel_names())?;
    let named = digests(store)?;
    let mut gone = Vec::new();
    let mut taken = Vec::new();
    for digest in store.digests_of_kernels()?.into_iter().filter(|digest| !named.contains(digest) && !needed(digest)) {
        taken.push(take_away(store, &digest)?);
        gone.push(digest);
    }
    drop(naming);
    drop(taken);
    Ok(gone)
}

/// Takes a kernel's folder away whole, so that nobody sees half of it; it is removed with what this returns. The caller holds
/// the names.
fn take_away(store: &Store, digest: &Digest) -> Result<Staging, KernelError> {
    let folder = store.kernel(digest);
    let staging = store.stage()?;
    match atomic::take_away(&folder, &staging.path().join("gone")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(staging),
        result => Ok(result.map(|()| staging).map_err(StoreError::io("remove", &folder))?),
    }
}

/// Gives `name` to a kernel that is in the store. Nothing when it is not there any more: the last of its names was deleted
/// after it was found there.
pub(super) fn set_name(
    store: &Store,
    name: &KernelRef,
    digest: Digest,
    origin: Origin,
) -> Result<Option<Kernel>, KernelError> {
    let _naming = store.naming(&store.kernel_names())?;
    if !store.kernel(&digest).is_dir() {
        return Ok(None);
    }
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let created_ms = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
    let record = Name { digest, origin, created_ms };
    let path = name_path(store, name);
    let text =
        serde_json::to_vec_pretty(&record).map_err(|source| KernelError::Record { path: path.clone(), source })?;
    store.write_file(&path, &text)?;
    describe(store, name.clone(), record).map(Some)
}

/// What all names mean, or why one of them cannot be told.
fn digests(store: &Store) -> Result<Vec<Digest>, KernelError> {
    let folder = store.kernel_names();
    let entries = fs::read_dir(&folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(StoreError::io("read the folder", &folder))?;
    entries.into_iter().map(|entry| read_json(&entry.path()).map(|name: Name| name.digest)).collect()
}

fn name_path(store: &Store, name: &KernelRef) -> PathBuf {
    store.kernel_names().join(format!("{name}.json"))
}

fn read_name(store: &Store, name: &KernelRef) -> Result<Option<Name>, KernelError> {
    match read_json(&name_path(store, name)) {
        Ok(found) => Ok(Some(found)),
        Err(KernelError::Store(StoreError::Io { source, .. })) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn describe(store: &Store, name: KernelRef, record: Name) -> Result<Kernel, KernelError> {
    let Name { digest, origin, created_ms } = record;
    let (manifest, files) = files(store, &digest)?;
    let size = ByteSize(disk_usage(&store.kernel(&digest)));
    Ok(Kernel { name, digest, origin, created_ms, size, manifest, files })
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, KernelError> {
    let text = fs::read(path).map_err(StoreError::io("read", path))?;
    serde_json::from_slice(&text).map_err(|source| KernelError::Record { path: path.to_owned(), source })
}

fn disk_usage(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.blocks() * 512).sum()
}
