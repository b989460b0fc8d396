//! What can go wrong with kernels.

use super::bzimage::BzImageError;
use super::deb::DebError;
use super::module_disk::ModuleDiskError;
use super::spool::ModuleError;
use super::vmlinux::VmlinuxError;
use crate::store::StoreError;
use crate::tool::ToolError;
use banger_model::{Digest, KernelRef};
use std::io;
use std::path::PathBuf;

/// Why an operation on kernels failed.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// No kernel has that name.
    #[error("there is no kernel {name}")]
    NotFound {
        /// The name.
        name: KernelRef,
    },
    /// No recipe has that name.
    #[error(
        "{name} is not in the catalog of kernels, which has {}; use `kernel import` for one of your own",
        banger_model::reference::KERNEL_CATALOG.join(", ")
    )]
    NotInCatalog {
        /// The name.
        name: KernelRef,
    },
    /// A catalog name cannot be given to something else.
    #[error("{name} names a kernel of the catalog: choose another name")]
    Reserved {
        /// The name.
        name: KernelRef,
    },
    /// The name means another kernel already.
    #[error("{name} names another kernel already: delete that one first, or choose another name")]
    NameTaken {
        /// The name.
        name: KernelRef,
    },
    /// A catalog kernel is not to be had.
    #[error("cannot get the kernel {name}")]
    Catalog {
        /// The name.
        name: KernelRef,
        /// Why.
        source: CatalogError,
    },
    /// A kernel is there but cannot be used.
    #[error("{subject} is not a usable kernel")]
    Invalid {
        /// The file or package.
        subject: String,
        /// Why.
        source: InvalidKernel,
    },
    /// The user's files cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The store's own record of a kernel is damaged.
    #[error("the record {} is damaged: pull or import its kernel again, or remove that file", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nobody waits for it any more.
    #[error("cancelled")]
    Cancelled,
}

/// Why a catalog kernel is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// This host is no Debian.
    #[error("apt is not installed: `kernel import` takes a kernel of any other source")]
    NoApt,
    /// Apt does not know the package.
    #[error(
        "apt's lists do not have {package}: run `apt-get update` as root; on another system than Debian use `kernel import`"
    )]
    NotListed {
        /// The package.
        package: String,
        /// What apt said.
        source: ToolError,
    },
    /// The meta package names no kernel.
    #[error("apt's lists do not say which package is the current cloud kernel: run `apt-get update` as root")]
    NoKernel,
    /// A list that lacks what is needed.
    #[error("apt's lists have no size and checksum for {package}: run `apt-get update` as root")]
    Record {
        /// The package.
        package: String,
    },
    /// The download failed.
    #[error("cannot download {package}: if it is no longer on the server, run `apt-get update` as root")]
    Download {
        /// The package.
        package: String,
        /// What apt said.
        source: ToolError,
    },
    /// Apt said that all is well, but brought no file.
    #[error("apt downloaded nothing for {package}")]
    NothingDownloaded {
        /// The package.
        package: String,
    },
    /// The package is not the one that the lists describe.
    #[error("{package} has the checksum {found}, but apt's lists say {expected}")]
    Digest {
        /// The package.
        package: String,
        /// From the lists.
        expected: Digest,
        /// Of the file.
        found: Digest,
    },
    /// The downloaded file cannot be read.
    #[error("cannot read the downloaded package")]
    Read(#[source] io::Error),
    /// Nobody waits for it any more.
    #[error("cancelled")]
    Cancelled,
}

/// Why bytes are no usable kernel.
#[derive(Debug, thiserror::Error)]
pub enum InvalidKernel {
    /// The boot image.
    #[error("its boot image cannot be read")]
    BzImage(#[from] BzImageError),
    /// The ELF file.
    #[error("its vmlinux cannot be used")]
    Vmlinux(#[from] VmlinuxError),
    /// Neither of the two.
    #[error("it is neither a Linux boot image for x86-64 (bzImage) nor an ELF vmlinux")]
    Unknown,
    /// The package.
    #[error("its package cannot be read")]
    Deb(#[from] DebError),
    /// A package without a kernel.
    #[error("its package has no boot/vmlinuz-*")]
    NoKernel,
    /// More than any real one.
    #[error("it is larger than {limit} bytes")]
    TooLarge {
        /// The most that is taken.
        limit: u64,
    },
    /// A module.
    #[error("its modules cannot be used")]
    Module(#[from] ModuleError),
    /// The modules' disk.
    #[error(transparent)]
    ModuleDisk(#[from] ModuleDiskError),
}
