//! What a trial has shown, on disk: for one boot of the host, one `/dev/kvm`, one program and one kernel.
//!
//! Wrong or unreadable content is no memory. Losing it costs a trial.

use super::{ProofSetup, Verdict};
use crate::binary::{Binary, FileIdentity};
use crate::config::Engine;
use crate::record::{boot_id, replace};
use banger_model::spec::VmmKind;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where the outcome for an engine is kept, and what it holds for.
#[derive(Debug)]
pub(crate) struct Memory {
    path: PathBuf,
    /// None when that cannot be told now; then nothing is remembered.
    about: Option<About>,
}

/// A verdict holds as long as all of it stays the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct About {
    boot_id: String,
    engine: Engine,
    binary: FileIdentity,
    kernel: Content,
    initramfs: Content,
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

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    about: About,
    verdict: Verdict,
}

impl Memory {
    pub(crate) fn of(engine: Engine, binary: &Binary, setup: &ProofSetup) -> Self {
        Self { path: setup.memory_dir.join(file_name(engine.kind())), about: About::of(engine, &binary.path, setup) }
    }

    /// The verdict, if it still holds.
    pub(crate) fn recall(&self) -> Option<Verdict> {
        let kept: Kept = serde_json::from_slice(&std::fs::read(&self.path).ok()?).ok()?;
        (Some(kept.about) == self.about).then_some(kept.verdict)
    }

    /// Remembers the verdict. What keeps it from that costs the next start a trial, and is logged.
    pub(crate) fn keep(&self, verdict: &Verdict) {
        let Some(about) = self.about.clone() else { return };
        let kept = Kept { about, verdict: verdict.clone() };
        let written = serde_json::to_vec(&kept).map_err(io::Error::from).and_then(|json| {
            self.path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            replace(&self.path, &json)
        });
        if let Err(error) = written {
            tracing::warn!(path = %self.path.display(), %error, "cannot remember whether KVM works");
        }
    }
}

/// Forgets the outcome for the engines of that program. What keeps it from that costs a start that fails, and is logged.
pub(super) fn forget(kind: VmmKind, memory_dir: &Path) {
    let path = memory_dir.join(file_name(kind));
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "cannot forget that KVM works");
        }
        _ => {}
    }
}

fn file_name(kind: VmmKind) -> &'static str {
    match kind {
        VmmKind::Firecracker => "kvm-firecracker.v1.json",
        VmmKind::Qemu => "kvm-qemu.v1.json",
    }
}

impl About {
    fn of(engine: Engine, binary: &Path, setup: &ProofSetup) -> Option<Self> {
        let kernel = setup.kernel.for_engine(engine)?;
        Some(Self {
            boot_id: boot_id().ok()?,
            engine,
            binary: FileIdentity::of(binary).ok()?,
            kernel: Content::of(kernel).ok()?,
            initramfs: Content::of(&setup.kernel.initramfs).ok()?,
            device: Device::here(),
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
        memory().keep(&Verdict::Works);
        assert_eq!(memory().recall(), Some(Verdict::Works));
        assert_eq!(Memory::of(Engine::Firecracker, &binary, &setup).recall(), None, "that is another engine");

        let (link, mut elsewhere) = (folder.path().join("link"), setup.clone());
        std::fs::hard_link(folder.path().join("vmlinuz"), &link).unwrap();
        elsewhere.kernel.bzimage = Some(link);
        let by_another_name = Memory::of(Engine::QemuKvm, &binary, &elsewhere);
        assert_eq!(by_another_name.recall(), Some(Verdict::Works), "the same file by another name");

        for changed in ["qemu", "vmlinuz", "initrd"] {
            memory().keep(&Verdict::Works);
            file(changed, "another content");
            assert_eq!(memory().recall(), None, "{changed} has changed");
        }
        memory().keep(&Verdict::Works);
        let text = std::fs::read_to_string(&memory().path).unwrap();
        std::fs::write(&memory().path, text.replace(&boot_id().unwrap(), "an earlier boot")).unwrap();
        assert_eq!(memory().recall(), None);
        memory().keep(&Verdict::Works);
        forget(VmmKind::Firecracker, &setup.memory_dir);
        assert_eq!(memory().recall(), Some(Verdict::Works), "that was another program");
        forget(VmmKind::Qemu, &setup.memory_dir);
        assert_eq!(memory().recall(), None);
        for rubbish in ["", "{", "null", "{\"verdict\":\"works\"}"] {
            std::fs::write(&memory().path, rubbish).unwrap();
            assert_eq!(memory().recall(), None, "{rubbish}");
        }
        std::fs::remove_file(&setup.kernel.initramfs).unwrap();
        memory().keep(&Verdict::Works);
        assert_eq!(memory().recall(), None, "nothing is known of a kernel that is not there");
    }
}
