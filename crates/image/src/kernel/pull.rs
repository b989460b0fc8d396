//! Getting a kernel into the store: from the catalog, or from the user's files.
//!
//! Owns: the two ways in, from a name or paths to a finished kernel. Must not: verify packages (that is the catalog) or lay
//! out the kernel's folder (that is the assembly). Callers keep two operations on one name apart.

use super::assemble::{Assembly, MAX_BOOT_IMAGE};
use super::catalog::{Apt, Package};
use super::deb::{self, DebError};
use super::store::{self, Kernel, Origin};
use super::{CatalogError, InvalidKernel, KernelError, bzimage, vmlinux};
use crate::cancel::Cancel;
use crate::progress::Progress;
use crate::store::{Store, StoreError};
use banger_model::{Digest, KernelRef};
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

/// Gets the catalog kernel `name`. One that is here is kept; with `newest`, only if the catalog has nothing newer.
///
/// # Errors
/// When the name is not in the catalog, the package is not to be had or not usable, or the store fails.
pub fn pull(
    store: &Store,
    name: &KernelRef,
    newest: bool,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Kernel, KernelError> {
    if !name.is_catalog() {
        return Err(KernelError::NotInCatalog { name: name.clone() });
    }
    let here = store::get(store, name).ok().filter(|kernel| kernel.manifest.is_current());
    let here = match here {
        Some(kernel) if !newest => return Ok(kernel),
        here => here,
    };
    let unavailable = |source| match source {
        CatalogError::Cancelled => KernelError::Cancelled,
        source => KernelError::Catalog { name: name.clone(), source },
    };
    progress.stage("look up the kernel package");
    let staging = store.stage()?;
    let apt = Apt::new(staging.path(), cancel).map_err(StoreError::io("make a folder in", staging.path()))?;
    let package = apt.resolve().map_err(unavailable)?;
    match here {
        Some(kernel) if matches!(&kernel.origin, Origin::Debian { sha256, .. } if *sha256 == package.sha256) => {
            return Ok(kernel);
        }
        _ => {}
    }
    progress.line(&format!("{} {}", package.name, package.version));
    progress.stage("download the kernel package");
    let deb = apt.download(&package, progress).map_err(unavailable)?;
    progress.stage("unpack the kernel");
    take_in(store, name, &package, &deb, cancel)
}

/// Makes a kernel of the package whose file is `deb`, and gives it the name.
pub(crate) fn take_in(
    store: &Store,
    name: &KernelRef,
    package: &Package,
    deb: &Path,
    cancel: &Cancel,
) -> Result<Kernel, KernelError> {
    loop {
        let digest = assemble_package(store, package, deb, cancel)?;
        let Package { name: package, version, sha256, .. } = package.clone();
        // Nothing: it was there already, and went with the last of its other names. So it is made again.
        if let Some(kernel) = store::set_name(store, name, digest, Origin::Debian { package, version, sha256 })? {
            return Ok(kernel);
        }
    }
}

fn assemble_package(store: &Store, package: &Package, deb: &Path, cancel: &Cancel) -> Result<Digest, KernelError> {
    let subject = format!("{} {}", package.name, package.version);
    let invalid = |source: InvalidKernel| KernelError::Invalid { subject: subject.clone(), source };
    let file = File::open(deb).map_err(|source| KernelError::Read { path: deb.to_owned(), source })?;
    let mut assembly = Assembly::new(store, subject.clone(), cancel)?;
    let visited = deb::for_each_file(file, |path, content| {
        if path.starts_with("boot/vmlinuz-") {
            let image = read_boot_image(content).map_err(|error| match error {
                Ok(source) => Visit::Deb(DebError::Read(source)),
                Err(error) => Visit::Kernel(invalid(error)),
            })?;
            assembly.boot_image(&image).map_err(Visit::Kernel)
        } else if let Some((_release, path)) = module_path(path) {
            assembly.module_file(path, content).map_err(Visit::Kernel)
        } else {
            cancel.check().map_err(|_| Visit::Kernel(KernelError::Cancelled))
        }
    });
    match visited {
        Ok(()) => assembly.finish(store),
        Err(Visit::Kernel(error)) => Err(error),
        Err(Visit::Deb(error)) => Err(invalid(error.into())),
    }
}

/// Either side of reading a package can fail.
enum Visit {
    Deb(DebError),
    Kernel(KernelError),
}

impl From<DebError> for Visit {
    fn from(error: DebError) -> Self {
        Self::Deb(error)
    }
}

/// The release and the rest of a path in a package's module tree.
fn module_path(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix("usr/").unwrap_or(path).strip_prefix("lib/modules/")?.split_once('/')
}

/// Puts a kernel of the user's into the store: a bzImage or an ELF vmlinux, and the folder of its modules, if it has some.
/// Importing the same again changes nothing.
///
/// # Errors
/// When the name is taken or of the catalog, the files cannot be read or are no usable kernel, or the store fails.
pub fn import(
    store: &Store,
    name: &KernelRef,
    kernel: &Path,
    modules: Option<&Path>,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Kernel, KernelError> {
    if name.is_catalog() {
        return Err(KernelError::Reserved { name: name.clone() });
    }
    loop {
        let digest = assemble_files(store, kernel, modules, progress, cancel)?;
        match store::get(store, name) {
            Ok(here) if here.digest == digest => return Ok(here),
            Ok(_) => return Err(KernelError::NameTaken { name: name.clone() }),
            // A name without a kernel, or a record that cannot be read, is as good as none.
            Err(KernelError::NotFound { .. } | KernelError::Record { .. }) => {}
            Err(error) => return Err(error),
        }
        let origin = Origin::Import { kernel: kernel.to_owned(), modules: modules.map(Path::to_owned) };
        if let Some(kernel) = store::set_name(store, name, digest, origin)? {
            return Ok(kernel);
        }
    }
}

fn assemble_files(
    store: &Store,
    kernel: &Path,
    modules: Option<&Path>,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Digest, KernelError> {
    let read = |source| KernelError::Read { path: kernel.to_owned(), source };
    let subject = kernel.display().to_string();
    let invalid = |source| KernelError::Invalid { subject: subject.clone(), source };
    progress.stage("read the kernel");
    let mut assembly = Assembly::new(store, subject.clone(), cancel)?;
    let mut file = open_file(kernel).map_err(read)?;
    let mut head = Vec::new();
    file.by_ref().take(4096).read_to_end(&mut head).map_err(read)?;
    file.rewind().map_err(read)?;
    if bzimage::is_bzimage(&head) {
        let image = read_boot_image(&mut file).map_err(|error| error.map_or_else(invalid, read))?;
        assembly.boot_image(&image)?;
    } else if vmlinux::is_elf(&head) {
        let limit = bzimage::MAX_VMLINUX;
        if file.metadata().map_err(read)?.len() > limit {
            return Err(invalid(InvalidKernel::TooLarge { limit }));
        }
        assembly.elf(file)?;
    } else {
        return Err(invalid(InvalidKernel::Unknown));
    }
    if let Some(folder) = modules {
        progress.stage("read the kernel's modules");
        import_modules(&mut assembly, folder)?;
    }
    assembly.finish(store)
}

/// Opens a regular file; not a pipe that never ends, nor a device.
fn open_file(path: &Path) -> io::Result<File> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    File::open(path)
}

/// All of a boot image; the outer error is the reader's.
fn read_boot_image(content: &mut dyn Read) -> Result<Vec<u8>, Result<io::Error, InvalidKernel>> {
    let mut image = Vec::new();
    content.take(MAX_BOOT_IMAGE + 1).read_to_end(&mut image).map_err(Ok)?;
    if image.len() as u64 > MAX_BOOT_IMAGE {
        return Err(Err(InvalidKernel::TooLarge { limit: MAX_BOOT_IMAGE }));
    }
    Ok(image)
}

/// Takes every regular file below `root`. Links are not followed: `build` and `source` lead elsewhere.
fn import_modules(assembly: &mut Assembly<'_>, root: &Path) -> Result<(), KernelError> {
    let read = |path: &Path| {
        let path = path.to_owned();
        move |source| KernelError::Read { path, source }
    };
    let mut folders: Vec<(PathBuf, String)> = vec![(root.to_owned(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(read(&folder))? {
            let entry = entry.map_err(read(&folder))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(read(&path))?;
            // Real trees have plain names only; what has another cannot be a module that anybody asks for.
            let Some(name) = entry.file_name().to_str().map(|name| format!("{prefix}{name}")) else { continue };
            if kind.is_dir() {
                folders.push((path, format!("{name}/")));
            } else if kind.is_file() {
                let mut file = File::open(&path).map_err(read(&path))?;
                assembly.module_file(&name, &mut file)?;
            }
        }
    }
    Ok(())
}
