//! What trials have shown, on disk: for one boot of the host, one `/dev/kvm`, one program, and each of the last kernels.
//!
//! Wrong or unreadable content is no memory. Losing it costs a trial.

use super::{ProofSetup, Verdict};
use crate::binary::{Binary, FileIdentity};
use crate::config::{Engine, Kernel};
use crate::record::{boot_id, replace};
use banger_model::spec::VmmKind;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// So many kernels are remembered, the one that was tried last being the first.
const MOST: usize = 8;

/// Where the outcomes for an engine are kept, and which of them are about what is to be started now.
#[derive(Debug)]
pub(crate) struct Memory {
    path: PathBuf,
    kernel: Kernel,
    /// None when that cannot be told now; then nothing is remembered.
    about: Option<About>,
}

/// A verdict holds as long as all of it stays the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct About {
    host: Host,
    kernel: Content,
    initramfs: Content,
}

/// What a guest runs on. Whether KVM works is a matter of this alone; whether a guest comes up, of its kernel, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Host {
    boot_id: String,
    engine: Engine,
    binary: FileIdentity,
    device: Option<Device>,
}

/// A file's content, whatever the file is called: stores are moved, and share files as hard links.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    inode: u64,
    size: u64,
    mtime: (i64, i64),
}

impl Content {
    fn of(path: &Path) -> io::Result<Self> {
        let meta = std::fs::metadata(path)?;
        Ok(Self { inode: meta.ino(), size: meta.len(), mtime: (meta.mtime(), meta.mtime_nsec()) })
    }
}

/// Which `/dev/kvm`: loading its module again makes another one, and with it other parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Device {
    inode: u64,
    changed_ns: i64,
}

impl Device {
    fn here() -> Option<Self> {
        let meta = std::fs::metadata("/dev/kvm").ok()?;
        let changed_ns = meta.ctime().saturating_mul(1_000_000_000).saturating_add(meta.ctime_nsec());
        Some(Self { inode: meta.ino(), changed_ns })
    }
}

/// What is known of a kernel.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    about: About,
    /// Where it was found last.
    kernel: Kernel,
    /// Its guest came up.
    came_up: bool,
    /// Whether KVM can be used to start it; none once that is in doubt.
    verdict: Option<Verdict>,
}

impl Memory {
    pub(crate) fn of(engine: Engine, binary: &Binary, setup: &ProofSetup) -> Self {
        let path = setup.memory_dir.join(file_name(engine.kind()));
        Self { path, kernel: setup.kernel.clone(), about: About::of(engine, &binary.path, &setup.kernel) }
    }

    /// The verdict, if it still holds.
    pub(crate) fn recall(&self) -> Option<Verdict> {
        let mut all = read(&self.path);
        let known = all.iter_mut().find(|kept| Some(&kept.about) == self.about.as_ref())?;
        let verdict = known.verdict.clone()?;
        if known.kernel != self.kernel {
            // What is found here today may be all that is left of it tomorrow.
            known.kernel = self.kernel.clone();
            self.write(&all);
        }
        Some(verdict)
    }

    /// Whether its guest was tried on this host and did not come up.
    pub(crate) fn never_came_up(&self) -> bool {
        read(&self.path).iter().any(|kept| Some(&kept.about) == self.about.as_ref() && !kept.came_up)
    }

    /// The kernel whose guest came up last on this very host, unless it is the one that is to be started.
    pub(crate) fn another(&self) -> Option<Kernel> {
        let own = self.about.as_ref()?;
        let is_one = |kept: &&Kept| kept.came_up && kept.about.host == own.host && kept.about != *own;
        // Read as it is now: its files may have become others, or be gone.
        let is_there =
            |kept: &Kept| About::of(own.host.engine, &own.host.binary.path, &kept.kernel).as_ref() == Some(&kept.about);
        read(&self.path).into_iter().filter(|kept| is_one(&kept)).find(is_there).map(|kept| kept.kernel)
    }

    /// Remembers whether the guest came up, and with that or another one's help, the verdict. What keeps it from that costs
    /// the next start a trial, and is logged.
    pub(crate) fn keep(&self, verdict: &Verdict, came_up: bool) {
        let Some(about) = self.about.clone() else { return };
        let mut all = read(&self.path);
        all.retain(|kept| kept.about != about && kept.about.host == about.host);
        all.truncate(MOST - 1);
        all.insert(0, Kept { about, kernel: self.kernel.clone(), came_up, verdict: Some(verdict.clone()) });
        self.write(&all);
    }

    fn write(&self, all: &[Kept]) {
        if let Err(error) = write(&self.path, all) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remember whether KVM works");
        }
    }
}

/// Lets every verdict on that program be found anew. What keeps it from that costs a start that fails, and is logged.
pub(super) fn doubt(kind: VmmKind, memory_dir: &Path) {
    let path = memory_dir.join(file_name(kind));
    let mut all = read(&path);
    all.iter_mut().for_each(|kept| kept.verdict = None);
    if !all.is_empty()
        && let Err(error) = write(&path, &all)
    {
        tracing::warn!(path = %path.display(), %error, "cannot forget that KVM works");
    }
}

fn read(path: &Path) -> Vec<Kept> {
    let json = std::fs::read(path).ok();
    json.and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default()
}

fn write(path: &Path, all: &[Kept]) -> io::Result<()> {
    let json = serde_json::to_vec(all)?;
    path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
    replace(path, &json)
}

fn file_name(kind: VmmKind) -> &'static str {
    match kind {
        VmmKind::Firecracker => "kvm-firecracker.v1.json",
        VmmKind::Qemu => "kvm-qemu.v1.json",
    }
}

impl About {
    fn of(engine: Engine, binary: &Path, kernel: &Kernel) -> Option<Self> {
        let host =
            Host { boot_id: boot_id().ok()?, engine, binary: FileIdentity::of(binary).ok()?, device: Device::here() };
        Some(Self {
            host,
            kernel: Content::of(kernel.for_engine(engine)?).ok()?,
            initramfs: Content::of(&kernel.initramfs).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binary::Version;
    use crate::config::Kernel;

    #[test]
    fn holds_until_the_boot_the_program_or_the_kernel_changes() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let binary =
            Binary { kind: VmmKind::Qemu, path: file("qemu", "1"), version: Version { major: 7, minor: 2, patch: 0 } };
        let kernel = Kernel { bzimage: Some(file("vmlinuz", "1")), elf: None, initramfs: file("initrd", "1"), hz: 250 };
        let memory_dir = folder.path().join("state");
        let setup = ProofSetup { kernel, memory_dir, runtime_dir: folder.path().into() };
        let memory = || Memory::of(Engine::QemuKvm, &binary, &setup);

        assert_eq!(memory().recall(), None);
        memory().keep(&Verdict::Works, true);
        assert_eq!(memory().recall(), Some(Verdict::Works));
        assert_eq!(Memory::of(Engine::Firecracker, &binary, &setup).recall(), None, "that is another engine");

        let (link, mut elsewhere) = (folder.path().join("link"), setup.clone());
        std::fs::hard_link(folder.path().join("vmlinuz"), &link).unwrap();
        elsewhere.kernel.bzimage = Some(link);
        let by_another_name = Memory::of(Engine::QemuKvm, &binary, &elsewhere);
        assert_eq!(by_another_name.recall(), Some(Verdict::Works), "the same file by another name");

        for changed in ["qemu", "vmlinuz", "initrd"] {
            memory().keep(&Verdict::Works, true);
            file(changed, "another content");
            assert_eq!(memory().recall(), None, "{changed} has changed");
        }
        memory().keep(&Verdict::Works, true);
        let text = std::fs::read_to_string(&memory().path).unwrap();
        std::fs::write(&memory().path, text.replace(&boot_id().unwrap(), "an earlier boot")).unwrap();
        assert_eq!(memory().recall(), None);
        memory().keep(&Verdict::Works, true);
        doubt(VmmKind::Firecracker, &setup.memory_dir);
        assert_eq!(memory().recall(), Some(Verdict::Works), "that was another program");
        doubt(VmmKind::Qemu, &setup.memory_dir);
        assert_eq!(memory().recall(), None);
        for rubbish in ["", "{", "null", "{\"verdict\":\"works\"}"] {
            std::fs::write(&memory().path, rubbish).unwrap();
            assert_eq!(memory().recall(), None, "{rubbish}");
        }
        std::fs::remove_file(&setup.kernel.initramfs).unwrap();
        memory().keep(&Verdict::Works, true);
        assert_eq!(memory().recall(), None, "nothing is known of a kernel that is not there");
    }

    #[test]
    fn each_of_the_last_kernels_is_remembered_and_one_that_came_up_can_be_tried_in_the_place_of_one_that_did_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let write = |name: &str| std::fs::write(path(name), name).unwrap();
        write("qemu");
        let version = Version { major: 7, minor: 2, patch: 0 };
        let binary = Binary { kind: VmmKind::Qemu, path: path("qemu"), version };
        let kernel = |name: &str| Kernel { bzimage: Some(path(name)), elf: None, initramfs: path(name), hz: 250 };
        let of = |name: &str| {
            let setup = ProofSetup { kernel: kernel(name), memory_dir: path("state"), runtime_dir: path("run") };
            Memory::of(Engine::QemuKvm, &binary, &setup)
        };
        let hangs = Verdict::Unusable(super::super::Unusable::Hangs { seconds: 5 });
        ["good", "bad", "new"].into_iter().for_each(write);

        of("good").keep(&Verdict::Works, true);
        assert_eq!(of("good").another(), None, "there is no other");
        of("bad").keep(&hangs, false);
        assert_eq!((of("good").recall(), of("bad").recall()), (Some(Verdict::Works), Some(hangs)));
        assert!(of("bad").never_came_up() && !of("good").never_came_up() && !of("new").never_came_up());
        assert_eq!((of("bad").another(), of("new").another()), (Some(kernel("good")), Some(kernel("good"))));

        doubt(VmmKind::Qemu, &path("state"));
        assert_eq!((of("good").recall(), of("bad").recall()), (None, None));
        assert!(of("bad").never_came_up(), "that stays known");
        assert_eq!(of("bad").another(), Some(kernel("good")), "it is tried before it is believed");

        of("good").keep(&Verdict::Works, true);
        std::fs::hard_link(path("good"), path("moved")).unwrap();
        assert_eq!(of("moved").recall(), Some(Verdict::Works));
        std::fs::remove_file(path("good")).unwrap();
        assert_eq!(of("bad").another(), Some(kernel("moved")), "where it was found last");
        std::fs::remove_file(path("moved")).unwrap();
        assert_eq!(of("bad").another(), None, "its files are gone");

        for number in 0..2 * MOST {
            write(&format!("kernel-{number}"));
            of(&format!("kernel-{number}")).keep(&Verdict::Works, true);
        }
        assert_eq!(read(&of("bad").path).len(), MOST);
        assert_eq!(of("bad").another(), Some(kernel(&format!("kernel-{}", 2 * MOST - 1))));
    }
}
