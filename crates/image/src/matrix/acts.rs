//! What is done to a store, as the matrix does it.

use super::bench::{Bench, image_name, kernel_name, options, wanted};
use crate::cancel::Cancel;
use crate::progress::NoProgress;
use crate::store::Store;
use crate::{image, initramfs, kernel, samples};
use banger_damage::in_full;
use banger_model::{Digest, ImageRef};
use std::fs::{self, File};
use std::path::Path;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// The store is opened for the first time.
    OpenStore,
    /// An image is got, under a name that is new.
    PullImage,
    /// A name comes to mean another image.
    PullNewerImage,
    /// An image of the store is damaged, and got again.
    MendImage,
    /// As [`Self::PullImage`], by way of a name of the user's.
    ImportImage,
    /// An image gets a second name.
    NameImage,
    /// An image goes with its last name.
    DeleteImage,
    /// One of two names goes.
    DeleteImageName,
    /// Images without a name go.
    PruneImages,
    /// A kernel is made of a package, under a name of the catalog.
    PullKernel,
    /// The same, once it is there as another package.
    PullNewerKernel,
    /// A kernel is made of an ELF file.
    ImportKernel,
    /// A kernel is made of a boot image and a folder of modules.
    ImportKernelWithModules,
    /// A kernel goes with its last name.
    DeleteKernel,
    /// Kernels without a name go.
    PruneKernels,
    /// The initramfs is made.
    MakeInitramfs,
    /// It is damaged, and made again.
    MendInitramfs,
    /// Those that nothing makes any more go.
    PruneInitramfs,
    /// What owners that have gone left behind goes.
    Sweep,
}

pub(super) const ALL: [Act; 19] = [
    Act::OpenStore,
    Act::PullImage,
    Act::PullNewerImage,
    Act::MendImage,
    Act::ImportImage,
    Act::NameImage,
    Act::DeleteImage,
    Act::DeleteImageName,
    Act::PruneImages,
    Act::PullKernel,
    Act::PullNewerKernel,
    Act::ImportKernel,
    Act::ImportKernelWithModules,
    Act::DeleteKernel,
    Act::PruneKernels,
    Act::MakeInitramfs,
    Act::MendInitramfs,
    Act::PruneInitramfs,
    Act::Sweep,
];

impl Act {
    /// What [`fmt::Debug`](std::fmt::Debug) says, read again.
    pub(super) fn named(name: &str) -> Self {
        ALL.into_iter().find(|act| format!("{act:?}") == name).unwrap()
    }

    /// Whether it gives up when nobody wants it any more. The others are over in a moment.
    pub(super) fn heeds_cancel(self) -> bool {
        matches!(
            self,
            Self::PullImage
                | Self::PullNewerImage
                | Self::MendImage
                | Self::ImportImage
                | Self::NameImage
                | Self::PullKernel
                | Self::PullNewerKernel
                | Self::ImportKernel
                | Self::ImportKernelWithModules
        )
    }

    /// Brings the store to where it begins.
    pub(super) fn arrange(self, bench: &Bench) {
        match self {
            Self::OpenStore
            | Self::PullImage
            | Self::ImportImage
            | Self::PullKernel
            | Self::ImportKernel
            | Self::ImportKernelWithModules => {}
            Self::PullNewerImage => {
                pull_image(bench, false, &wanted()).unwrap();
                bench.put("root.tar", &samples::tar(&[("root/newer", &[b'n'; 5000])]));
            }
            Self::MendImage => {
                let image = pull_image(bench, false, &wanted()).unwrap();
                let root = bench.store().image(&image).join("image.ext4");
                File::options().write(true).open(root).unwrap().set_len(4096).unwrap();
            }
            Self::NameImage | Self::DeleteImage => drop(import_image(bench, "mine", &wanted()).unwrap()),
            Self::DeleteImageName => {
                import_image(bench, "mine", &wanted()).unwrap();
                import_image(bench, "also-mine", &wanted()).unwrap();
            }
            Self::PruneImages => {
                import_image(bench, "mine", &wanted()).unwrap();
                remove_all(&bench.store().image_names());
            }
            Self::PullNewerKernel => {
                pull_kernel(bench, &wanted()).unwrap();
                bench.put("kernel.deb", &samples::package_of(&samples::vmlinux(), &[]));
            }
            Self::DeleteKernel | Self::PruneKernels | Self::MakeInitramfs | Self::MendInitramfs => {
                import_kernel(bench, None, &wanted()).unwrap();
                match self {
                    Self::PruneKernels => remove_all(&bench.store().kernel_names()),
                    Self::MendInitramfs => {
                        let path = initramfs(bench).unwrap();
                        let half = fs::metadata(&path).unwrap().len() / 2;
                        File::options().write(true).open(path).unwrap().set_len(half).unwrap();
                    }
                    _ => {}
                }
            }
            Self::PruneInitramfs => {
                import_kernel(bench, None, &wanted()).unwrap();
                for round in 0..3 {
                    bench.put("agent", &[samples::agent(), vec![0; round]].concat());
                    initramfs(bench).unwrap();
                }
            }
            Self::Sweep => {
                let staging = bench.store().root().join("staging");
                for name in ["one", "two"] {
                    fs::create_dir_all(staging.join(name).join("deep")).unwrap();
                    fs::write(staging.join(name).join("half"), "of it").unwrap();
                }
                fs::write(staging.join("file"), "").unwrap();
            }
        }
    }

    /// Does it. An error is told with its causes.
    pub(super) fn perform(self, bench: &Bench, cancel: &Cancel) -> Result<(), String> {
        let done = match self {
            Self::OpenStore => Store::open(bench.path("store")).map(drop).map_err(|error| in_full(&error)),
            Self::PullImage | Self::MendImage => pull_image(bench, false, cancel).map(drop),
            Self::PullNewerImage => pull_image(bench, true, cancel).map(drop),
            Self::ImportImage | Self::NameImage => import_image(bench, "also-mine", cancel).map(drop),
            Self::DeleteImage | Self::DeleteImageName => {
                let deleted = image::delete(&bench.store(), &image_name("mine"), nobody);
                deleted.map(drop).map_err(|error| in_full(&error))
            }
            Self::PruneImages => image::prune(&bench.store(), nobody).map(drop).map_err(|error| in_full(&error)),
            Self::PullKernel | Self::PullNewerKernel => pull_kernel(bench, cancel),
            Self::ImportKernel => import_kernel(bench, None, cancel),
            Self::ImportKernelWithModules => import_kernel(bench, Some("modules"), cancel),
            Self::DeleteKernel => {
                let deleted = kernel::delete(&bench.store(), &kernel_name("mine"), nobody);
                deleted.map(drop).map_err(|error| in_full(&error))
            }
            Self::PruneKernels => kernel::prune(&bench.store(), nobody).map(drop).map_err(|error| in_full(&error)),
            Self::MakeInitramfs | Self::MendInitramfs => initramfs(bench).map(drop),
            Self::PruneInitramfs => {
                let pruned = initramfs::prune(&bench.store(), &bench.path("agent"), |_| false);
                pruned.map(drop).map_err(|error| in_full(&error))
            }
            Self::Sweep => bench.store().sweep_staging().map(drop).map_err(|error| in_full(&error)),
        };
        done.map_err(|error| format!("{self:?}: {error}"))
    }

    /// Does it once more. What is to be deleted may be gone by now, and then that is said.
    pub(super) fn perform_again(self, bench: &Bench, is_done: bool) {
        match (self, self.perform(bench, &wanted())) {
            (_, Ok(())) => {}
            (Self::DeleteImage | Self::DeleteImageName | Self::DeleteKernel, Err(error)) => {
                assert!(is_done && error.contains("there is no"), "{error}");
            }
            (_, Err(error)) => panic!("{error}"),
        }
    }
}

fn nobody(_: &Digest) -> bool {
    false
}

fn rootfs(bench: &Bench) -> ImageRef {
    image_name(&format!("rootfs:{}", bench.path("root.tar").display()))
}

fn pull_image(bench: &Bench, force: bool, cancel: &Cancel) -> Result<Digest, String> {
    let pulled = image::pull(&bench.store(), &rootfs(bench), force, &options(), &NoProgress, cancel);
    pulled.map(|image| image.digest).map_err(|error| in_full(&error))
}

fn import_image(bench: &Bench, name: &str, cancel: &Cancel) -> Result<Digest, String> {
    let (source, name) = (rootfs(bench), image_name(name));
    let imported = image::import(&bench.store(), &source, &name, &options(), &NoProgress, cancel);
    imported.map(|image| image.digest).map_err(|error| in_full(&error))
}

/// All of a pull but for what apt does.
fn pull_kernel(bench: &Bench, cancel: &Cancel) -> Result<(), String> {
    let deb = bench.path("kernel.deb");
    let sha256 = Digest::from_bytes([5; 32]);
    let package = kernel::Package { name: "linux-image".into(), version: "1".into(), size: 1, sha256 };
    let taken = kernel::take_in(&bench.store(), &kernel_name("debian"), &package, &deb, cancel);
    taken.map(drop).map_err(|error| in_full(&error))
}

fn import_kernel(bench: &Bench, modules: Option<&str>, cancel: &Cancel) -> Result<(), String> {
    let (file, modules) = match modules {
        Some(modules) => (bench.path("vmlinuz"), Some(bench.path(modules))),
        None => (bench.path("vmlinux"), None),
    };
    let imported = kernel::import(&bench.store(), &kernel_name("mine"), &file, modules.as_deref(), &NoProgress, cancel);
    imported.map(drop).map_err(|error| in_full(&error))
}

fn initramfs(bench: &Bench) -> Result<std::path::PathBuf, String> {
    let store = bench.store();
    let kernel = kernel::get(&store, &kernel_name("mine")).map_err(|error| in_full(&error))?;
    initramfs::ensure(&store, &kernel.digest, &bench.path("agent")).map_err(|error| in_full(&error))
}

fn remove_all(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
}
