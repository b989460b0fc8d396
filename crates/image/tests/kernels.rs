//! Kernels from Debian's packages, checked with the tools that read them for a living.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods)]

mod support;

use banger_image::cancel::Cancel;
use banger_image::kernel::{self, Kernel, KernelError};
use banger_image::progress::NoProgress;
use banger_image::store::Store;
use banger_model::KernelRef;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{chain, have, run};

fn store(dir: &Path) -> Store {
    Store::open(dir.join("store")).unwrap()
}

fn name(text: &str) -> KernelRef {
    text.parse().unwrap()
}

fn import(store: &Store, kernel: &Path, modules: Option<&Path>) -> Result<Kernel, KernelError> {
    kernel::import(store, &name("mine"), kernel, modules, &NoProgress, &Cancel::new())
}

/// What is in progress in the store, or was left there.
fn staged(store: &Store) -> usize {
    fs::read_dir(store.root().join("staging")).unwrap().count()
}

/// Checks a kernel with e2fsck, and its indexes with kmod.
fn check(kernel: &Kernel, dir: &Path) {
    let modules = &kernel.files.modules;
    run(Command::new("/sbin/e2fsck").arg("-fn").arg(modules));
    let label = run(Command::new("/sbin/dumpe2fs").arg("-h").arg(modules));
    assert!(label.contains("banger-modules"), "{label}");
    let elf = fs::read(&kernel.files.elf).unwrap();
    assert!(elf.starts_with(b"\x7fELF") && elf.len() > 20_000_000);

    // The guest's view: the disk at /lib/modules/RELEASE.
    let tree = dir.join("guest");
    let folder = tree.join("lib/modules").join(&kernel.manifest.release);
    fs::create_dir_all(&folder).unwrap();
    run(Command::new("/sbin/debugfs").args(["-R", &format!("rdump / {}", folder.display())]).arg(modules));
    let modprobe = |args: &[&str]| {
        let mut command = Command::new("/sbin/modprobe");
        run(command.arg("-d").arg(&tree).arg("-S").arg(&kernel.manifest.release).args(args))
    };
    let order = modprobe(&["--show-depends", "overlay"]);
    assert!(order.contains("overlay.ko"), "{order}");
    let order = modprobe(&["--show-depends", "nf_conntrack_netlink"]);
    let at = |module: &str| order.find(module).unwrap_or_else(|| panic!("{module} is not in {order}"));
    assert!(at("nf_conntrack.ko") < at("nf_conntrack_netlink.ko"), "{order}");
    // By alias, as the kernel asks, and by a built-in's name.
    assert!(modprobe(&["--show-depends", "net-pf-40"]).contains("vsock.ko"));
    assert!(modprobe(&["--show-depends", "ext4"]).contains("builtin"));
    // What depmod itself would have written.
    let ours = index(&folder, "modules.dep");
    run(Command::new("/sbin/depmod").arg("-b").arg(&tree).arg(&kernel.manifest.release));
    assert!(ours == index(&folder, "modules.dep"), "modules.dep differs from depmod's");
    assert_eq!(ours.len(), kernel.manifest.modules);
}

/// The lines of an index, sorted, each with its dependencies sorted: depmod promises no order between equals.
fn index(folder: &Path, name: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(folder.join(name)).unwrap();
    let mut lines: Vec<Vec<String>> = text
        .lines()
        .map(|line| {
            let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            words[1..].sort_unstable();
            words
        })
        .collect();
    lines.sort_unstable();
    lines
}

const TOOLS: [&str; 5] = ["apt-get", "/sbin/e2fsck", "/sbin/debugfs", "/sbin/modprobe", "/sbin/depmod"];

#[test]
fn the_catalog_kernel_needs_apt_kmod_and_package_servers() {
    if !have("the_catalog_kernel", &TOOLS) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let archives = || fs::metadata("/var/cache/apt/archives").map(|folder| folder.mtime()).ok();
    let before = archives();
    let pulled = kernel::pull(&store, &name("debian"), false, &NoProgress, &Cancel::new());
    let kernel = pulled.unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(archives(), before, "the host's package cache was touched");
    assert!(kernel.manifest.release.ends_with("-cloud-amd64") && kernel.manifest.pvh, "{:?}", kernel.manifest);
    assert!(kernel.files.boot_image.as_ref().is_some_and(|path| path.is_file()));
    let boot = &kernel.manifest.boot_modules;
    for needed in ["virtio_blk", "virtio_console", "virtio_net", "overlay"] {
        assert!(boot.iter().any(|module| module == needed), "{needed} is not in {boot:?}");
    }
    let place = |module: &str| boot.iter().position(|one| one == module);
    assert!(place("virtio_ring") < place("virtio_blk") && place("failover") < place("virtio_net"), "{boot:?}");
    assert_eq!(staged(&store), 0);
    check(&kernel, dir.path());

    // It stays the same when asked for again, and when the catalog has nothing newer.
    for newest in [false, true] {
        let again = kernel::pull(&store, &name("debian"), newest, &NoProgress, &Cancel::new()).unwrap();
        assert_eq!(again, kernel);
    }
    // Its parts, imported, are the same kernel under another name.
    let copy =
        import(&store, kernel.files.boot_image.as_ref().unwrap(), Some(&guest_modules(dir.path(), &kernel))).unwrap();
    assert_eq!(copy.digest, kernel.digest);
    assert_eq!(kernel::list(&store).unwrap().len(), 2);
    assert!(!kernel::delete(&store, &name("mine"), |_| false).unwrap());
    assert!(kernel.files.elf.exists());
    assert!(kernel::delete(&store, &name("debian"), |_| false).unwrap());
    assert!(!kernel.files.elf.exists());
    assert!(matches!(kernel::get(&store, &name("debian")), Err(KernelError::NotFound { .. })));
}

fn guest_modules(dir: &Path, kernel: &Kernel) -> PathBuf {
    dir.join("guest/lib/modules").join(&kernel.manifest.release)
}

/// Downloads and unpacks the newest kernel with a zstd payload and compressed modules.
fn newer_kernel(dir: &Path) -> Option<(PathBuf, PathBuf)> {
    let search = Command::new("apt-cache").args(["pkgnames", "linux-image-6.12"]).output().ok()?;
    let names = String::from_utf8_lossy(&search.stdout).into_owned();
    let package = names.lines().filter(|name| name.ends_with("-cloud-amd64-unsigned")).max()?;
    let mut download = Command::new("apt-get");
    download.args(["-q", "-o", "APT::Sandbox::User=root", "download", package]).current_dir(dir);
    download.output().ok().filter(|output| output.status.success())?;
    let deb = fs::read_dir(dir)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|e| e == "deb"))?;
    let tree = dir.join("package");
    run(Command::new("dpkg").arg("-x").arg(deb).arg(&tree));
    let only = |folder: PathBuf, prefix: &str| {
        let entries = fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
        entries.into_iter().find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)))
    };
    let modules = only(tree.join("lib/modules"), "6.").or_else(|| only(tree.join("usr/lib/modules"), "6."))?;
    Some((only(tree.join("boot"), "vmlinuz-")?, modules))
}

#[test]
fn a_kernel_with_zstd_and_packed_modules_needs_apt_kmod_and_package_servers() {
    if !have("a_kernel_with_zstd", &TOOLS) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let Some((boot_image, modules)) = newer_kernel(dir.path()) else {
        eprintln!("SKIPPED: a_kernel_with_zstd: apt offers no such kernel");
        return;
    };
    let store = store(dir.path());
    let kernel = import(&store, &boot_image, Some(&modules)).unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert!(kernel.manifest.release.starts_with("6.12"), "{:?}", kernel.manifest);
    check(&kernel, dir.path());

    // The ELF alone is a kernel too, with the same release and modules.
    let elf = dir.path().join("vmlinux");
    fs::copy(&kernel.files.elf, &elf).unwrap();
    let plain = kernel::import(&store, &name("plain"), &elf, Some(&modules), &NoProgress, &Cancel::new()).unwrap();
    assert_eq!((&plain.manifest.release, plain.manifest.modules), (&kernel.manifest.release, kernel.manifest.modules));
    assert!(plain.files.boot_image.is_none() && plain.digest != kernel.digest);

    // Modules of another kernel are refused, and so is every damaged boot image; nothing is left of either.
    let whole = fs::read(&boot_image).unwrap();
    let damaged = dir.path().join("damaged");
    let refuse = |bytes: &[u8], said: &str| {
        fs::write(&damaged, bytes).unwrap();
        let error = kernel::import(&store, &name("bad"), &damaged, None, &NoProgress, &Cancel::new()).unwrap_err();
        assert!(matches!(error, KernelError::Invalid { .. }), "{}", chain(&error));
        assert!(chain(&error).contains(said), "{}", chain(&error));
        assert_eq!(staged(&store), 0);
    };
    refuse(&whole[..whole.len() / 2], "cut off");
    refuse(&whole[..0x240], "cut off");
    refuse(&whole[..100], "neither");
    refuse(b"", "neither");
    let payload =
        u32::from_le_bytes(whole[0x248..0x24c].try_into().unwrap()) as usize + (usize::from(whole[0x1f1]) + 1) * 512;
    let mut corrupt = whole.clone();
    corrupt[payload + 1000..payload + 5000].fill(0x55);
    refuse(&corrupt, "corrupt");
    let mut none = whole.clone();
    none[payload..payload + 8].fill(0);
    refuse(&none, "payload");
    let mut longer = whole.clone();
    let length = u32::from_le_bytes(whole[0x24c..0x250].try_into().unwrap()) as usize;
    longer[payload + length - 4..payload + length].copy_from_slice(&u32::MAX.to_le_bytes());
    refuse(&longer, "is the most");
}

#[test]
fn what_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    for path in [dir.path().join("missing"), dir.path().to_owned(), "/dev/zero".into()] {
        let error = import(&store, &path, None).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot read {}", path.display()));
    }
    let error = kernel::pull(&store, &name("other"), false, &NoProgress, &Cancel::new()).unwrap_err();
    assert!(matches!(error, KernelError::NotInCatalog { .. }));
    let error = kernel::import(&store, &name("debian"), dir.path(), None, &NoProgress, &Cancel::new()).unwrap_err();
    assert!(matches!(error, KernelError::Reserved { .. }));
    assert_eq!(staged(&store), 0);
}
