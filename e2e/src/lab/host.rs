//! The lab's host: its root file system and its kernel.
//!
//! Debian's packages become a tar by mmdebstrap, and that an ext4 image by banger itself, which also brings the kernel with
//! its modules: the lab is made with the code it tests. Nothing here needs root.

use super::{
    LabError,
    cache::{Cache, Key},
};
use crate::{
    BOUND, Call, Sandbox,
    place::{Place, find},
    sandbox::entries,
};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// What a host of VMs has. All but the first line is for the parts of banger that need root.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,kmod,procps,util-linux,e2fsprogs,curl,busybox-static,bash,\
                        iproute2,nftables,dmsetup";

/// What nobody reads in a lab.
const LEFT_OUT: [&str; 5] = ["doc", "man", "info", "locale", "bash-completion"];

/// Files of ours: where they go, whether they are programs, and their content.
const FILES: [(&str, u32, &str); 4] = [
    ("/usr/local/sbin/lab-setup", 0o755, include_str!("host/lab-setup")),
    ("/etc/systemd/system/lab.target", 0o644, include_str!("host/lab.target")),
    ("/etc/systemd/system/lab.service", 0o644, include_str!("host/lab.service")),
    ("/etc/systemd/system/lab-shell.service", 0o644, include_str!("host/lab-shell.service")),
];

/// Done in the tree before it is packed; `$1` is the tree.
const FINISH: [&str; 3] = [
    r#"chroot "$1" useradd --create-home --uid 1000 --shell /bin/bash tester"#,
    r#"chroot "$1" sh -c 'getent group kvm >/dev/null || groupadd --system kvm; usermod --append --groups kvm tester'"#,
    r#"mkdir -p "$1/lab"; echo lab >"$1/etc/hostname""#,
];

/// The host as an image of banger's: what guests in it boot that are to have systemd.
pub const IMAGE: &str = "localhost/lab:1";

/// What is booted.
#[derive(Debug)]
pub struct Host {
    /// An ext4 image of the root file system.
    pub root: PathBuf,
    /// Stores of banger's: one with [`IMAGE`], which that file is of, and one with the kernel.
    pub stores: [PathBuf; 2],
    /// The kernel as QEMU boots it.
    pub vmlinuz: PathBuf,
    /// An ext4 image of its modules, for `/lib/modules/RELEASE`.
    pub modules: PathBuf,
}

impl Host {
    /// Makes what is not there yet.
    ///
    /// # Errors
    /// When a tool is missing or fails.
    pub fn make(cache: &Cache) -> Result<Self, LabError> {
        let stores = [root(cache)?, kernel(cache)?];
        let (image, kernel) = (only(&stores[0].join("images"))?, only(&stores[1].join("kernels"))?);
        let root = image.join("image.ext4");
        Ok(Self { root, vmlinuz: kernel.join("vmlinuz"), modules: kernel.join("modules.ext4"), stores })
    }
}

fn only(folder: &Path) -> Result<PathBuf, LabError> {
    match &entries(folder)[..] {
        [one] => Ok(one.clone()),
        several => {
            let action = format!("find what was made in {}", folder.display());
            Err(LabError::Step { action, said: format!("it has {several:?}") })
        }
    }
}

/// A store with the root file system.
fn root(cache: &Cache) -> Result<PathBuf, LabError> {
    let release = release()?;
    let sources = sources(&release)?;
    let mut key = Key::default().text(&release).text(PACKAGES).text(&sources.join("\n"));
    for text in LEFT_OUT.iter().chain(&FINISH) {
        key = key.text(text);
    }
    for (path, mode, content) in FILES {
        key = key.text(path).text(&format!("{mode:o}")).text(content);
    }
    let folder = cache.get("host", &key.finish(), |folder| {
        eprintln!("lab: building the host from Debian's packages ({release})");
        let tar = folder.join("root.tar");
        bootstrap(&release, &sources, &tar)?;
        eprintln!("lab: writing the host's file system");
        let sandbox = Sandbox::empty();
        let import = sandbox.banger("image import").arg(format!("rootfs:{}", tar.display())).arg(IMAGE);
        done("import the host's root file system", &import.within(BOUND * 3).run())?;
        keep_store(sandbox, folder)?;
        fs::remove_file(&tar).map_err(LabError::io("remove", &tar))
    })?;
    Ok(folder.join("store"))
}

fn keep_store(sandbox: Sandbox, folder: &Path) -> Result<(), LabError> {
    sandbox.stop_daemon();
    let data = sandbox.data();
    fs::rename(&data, folder.join("store")).map_err(LabError::io("keep", &data))?;
    sandbox.finish();
    Ok(())
}

/// This host's own release: the programs under test are linked with its libraries.
fn release() -> Result<String, LabError> {
    let text = fs::read_to_string("/etc/os-release").map_err(LabError::io("read", "/etc/os-release"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(line.unwrap_or("unknown").trim_matches('"').to_owned())
}

/// Lines as in `sources.list`, of the mirrors that this host uses itself.
fn sources(release: &str) -> Result<Vec<String>, LabError> {
    let missing = LabError::Missing { program: "apt-get", package: "apt" };
    let targets = Call::new(find("apt-get").ok_or(missing)?)
        .words("indextargets --format")
        .arg("$(REPO_URI) $(CODENAME) $(COMPONENT)")
        .arg("Created-By: Packages")
        .run();
    let suites = ["", "-updates", "-security"].map(|part| format!("{release}{part}"));
    let signed = "/usr/share/keyrings/debian-archive-keyring.gpg";
    let option = if Path::new(signed).exists() { format!("[signed-by={signed}] ") } else { String::new() };
    let lines = targets.stdout.lines().filter_map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
        [uri, suite, "main"] if uri.starts_with("http") && suites.iter().any(|known| known == suite) => {
            Some(format!("deb {option}{uri} {suite} main"))
        }
        _ => None,
    });
    let lines: BTreeSet<String> = lines.collect();
    if lines.is_empty() {
        return Err(LabError::NoSources { release: release.to_owned() });
    }
    Ok(lines.into_iter().collect())
}

fn bootstrap(release: &str, sources: &[String], tar: &Path) -> Result<(), LabError> {
    let missing = LabError::Missing { program: "mmdebstrap", package: "mmdebstrap" };
    let mut call = Call::new(find("mmdebstrap").ok_or(missing)?)
        .words("--quiet --variant=minbase --format=tar --architectures=amd64")
        .arg(format!("--include={PACKAGES}"));
    for folder in LEFT_OUT {
        call = call.arg(format!("--dpkgopt=path-exclude=/usr/share/{folder}/*"));
    }
    let files = Place::get().folder("host-files");
    // Whoever is root in the tree's namespace has to read them.
    fs::set_permissions(&files, fs::Permissions::from_mode(0o755)).map_err(LabError::io("open", &files))?;
    for (number, (path, mode, content)) in FILES.into_iter().enumerate() {
        let file = files.join(number.to_string());
        fs::write(&file, content).map_err(LabError::io("write", &file))?;
        call = call.arg(format!("--customize-hook=upload {} {path}", file.display()));
        call = call.arg(format!("--customize-hook=chmod {mode:o} \"$1{path}\""));
    }
    for step in FINISH {
        call = call.arg(format!("--customize-hook={step}"));
    }
    call = call.arg(release).arg(tar);
    for source in sources {
        call = call.arg(source);
    }
    done("build the host from Debian's packages", &call.within(BOUND * 10).run())
}

/// A store with nothing but the kernel. What is in it depends on the programs that make it.
fn kernel(cache: &Cache) -> Result<PathBuf, LabError> {
    let place = Place::get();
    let key = Key::default().file(&place.program("bangerd"))?.file(&place.program("banger-agent"))?.finish();
    let folder = cache.get("kernel", &key, |folder| {
        eprintln!("lab: fetching the kernel");
        let sandbox = Sandbox::empty();
        done("fetch the kernel", &sandbox.banger("kernel pull debian").within(BOUND * 3).run())?;
        keep_store(sandbox, folder)
    })?;
    Ok(folder.join("store"))
}

/// A step that has to succeed.
pub(super) fn done(action: &str, output: &crate::Output) -> Result<(), LabError> {
    if output.status.success() {
        return Ok(());
    }
    Err(LabError::Step { action: action.to_owned(), said: output.to_string() })
}
