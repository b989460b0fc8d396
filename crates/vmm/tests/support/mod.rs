//! What every test of this crate needs: a real guest to boot, and a VM's folders that leave nothing behind.

#![allow(dead_code, reason = "each test program uses a part of it")]

mod vmlinux;

use banger_model::spec::{DiskLimits, VmmKind};
use banger_model::{ByteSize, VmId};
use banger_vmm::binary::{Binary, discover};
use banger_vmm::{Disk, Engine, Exit, Kernel, Vmm, VmmConfig};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Longest that anything in a guest may take here; an idle machine needs a twentieth of it.
pub(crate) const BOUND: Duration = Duration::from_secs(120);

/// The folder with `vmlinuz`, `vmlinux` and `initramfs`, made on first use and kept for later runs.
pub(crate) fn guest() -> &'static Path {
    static GUEST: OnceLock<PathBuf> = OnceLock::new();
    GUEST.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/guest.sh");
        let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let lock = std::fs::File::create(tmp.join("vmm-guest.lock")).unwrap();
        lock.lock().unwrap();
        let folder = tmp.join("vmm-guest");
        let age = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified());
        let fresh = age(&folder.join("vmlinux")).is_ok_and(|made| made > age(&script).unwrap());
        if !fresh {
            let status = Command::new("sh").arg(&script).arg(&folder).status().unwrap();
            assert!(status.success(), "the test guest could not be made: {status}");
            let elf = vmlinux::elf_of(&std::fs::read(folder.join("vmlinuz")).unwrap());
            std::fs::write(folder.join("vmlinux"), elf).unwrap();
        }
        folder
    })
}

pub(crate) async fn qemu() -> Binary {
    discover(VmmKind::Qemu, None, &std::env::var_os("PATH").unwrap()).await.unwrap()
}

/// Firecracker, from `BANGER_TEST_FIRECRACKER` or `PATH`. None, said loudly, when there is none.
pub(crate) async fn firecracker(test: &str) -> Option<Binary> {
    let named = std::env::var_os("BANGER_TEST_FIRECRACKER").map(PathBuf::from);
    match discover(VmmKind::Firecracker, named.as_deref(), &std::env::var_os("PATH").unwrap()).await {
        Ok(binary) => Some(binary),
        Err(error) => {
            eprintln!("SKIPPED: {test}: {error}");
            None
        }
    }
}

/// A VM's folder. Whatever runs in it is killed at the end.
pub(crate) struct Place {
    /// None when it is another process's.
    temporary: Option<tempfile::TempDir>,
    folder: PathBuf,
    pub(crate) vm: VmId,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self::in_folder("vm")
    }

    /// With a folder of that name.
    pub(crate) fn in_folder(name: &str) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        let mut place = Self::existing(folder);
        place.temporary = Some(temporary);
        place
    }

    /// In a folder that is there and stays.
    pub(crate) fn existing(folder: PathBuf) -> Self {
        static COUNT: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);
        let mut entropy = [0; 16];
        entropy[..4].copy_from_slice(&std::process::id().to_le_bytes());
        entropy[4] = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Self { temporary: None, folder, vm: VmId::from_entropy(entropy) }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.folder
    }

    /// A shell script.
    pub(crate) fn program(&self, name: &str, script: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// A disk of that many MiB.
    pub(crate) fn disk(&self, name: &str, mib: u64, read_only: bool) -> Disk {
        let path = self.path(name);
        std::fs::File::create(&path).unwrap().set_len(mib << 20).unwrap();
        Disk { path, read_only }
    }

    /// A guest under QEMU's translator that does `act`.
    pub(crate) async fn qemu(&self, act: &str) -> VmmConfig {
        VmmConfig {
            vm: self.vm,
            engine: Engine::QemuTcg,
            binary: qemu().await,
            vcpu: 1,
            memory: ByteSize::mib(256),
            kernel: Kernel {
                bzimage: Some(guest().join("vmlinuz")),
                elf: None,
                initramfs: guest().join("initramfs"),
                hz: Kernel::DEFAULT_HZ,
            },
            kernel_args: vec![format!("act={act}")],
            disks: Vec::new(),
            disk_limits: DiskLimits::default(),
            net: None,
            runtime_dir: self.folder.clone(),
            console_log: self.path("console.log"),
            vmm_log: self.path("vmm.log"),
            metrics: self.path("metrics.json"),
            record: self.path("vmm.json"),
            cgroup: None,
        }
    }

    /// A guest on Firecracker that says all that its kernel does.
    pub(crate) async fn firecracker(&self, binary: Binary) -> VmmConfig {
        let mut config = self.qemu("wait").await;
        config.engine = Engine::Firecracker;
        config.binary = binary;
        config.kernel.elf = Some(guest().join("vmlinux"));
        config.kernel_args.extend(["loglevel=7".into(), "earlyprintk=serial,ttyS0,115200".into()]);
        config
    }

    pub(crate) fn console(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.path("console.log")).unwrap_or_default()).into_owned()
    }

    /// Waits until the console holds that text.
    pub(crate) async fn console_says(&self, vmm: &Vmm, text: &str) {
        let said = self.console_says_within(vmm, text, BOUND).await;
        assert!(said, "the console never said {text:?}:\n{}", self.console());
    }

    /// Whether the console holds that text in time. A VMM that ends before is an error.
    pub(crate) async fn console_says_within(&self, vmm: &Vmm, text: &str, bound: Duration) -> bool {
        let start = Instant::now();
        while !self.console().contains(text) {
            if start.elapsed() > bound {
                return false;
            }
            assert!(vmm.is_alive(), "the VMM ended before its console said {text:?}:\n{}", self.console());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for record in banger_vmm::scan(&self.folder).unwrap_or_default() {
            let pid = rustix::process::Pid::from_raw(record.identity.pid).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// The VMM's exit, or a panic when it does not come.
pub(crate) async fn exit_of(vmm: &Vmm, place: &Place) -> Exit {
    match tokio::time::timeout(BOUND, vmm.exited()).await {
        Ok(exit) => exit,
        Err(_) => panic!("the VMM did not end:\n{}", place.console()),
    }
}
