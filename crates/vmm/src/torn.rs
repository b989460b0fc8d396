//! Every file that this crate keeps, damaged: a record is refused by name with a way out, and what is only a memory is done
//! without. A new file is one more line in [`files`].

use crate::binary::{Binary, Version};
use crate::config::{Engine, Kernel};
use crate::prove::memory::Memory;
use crate::record::{CompanionRecord, Identity, Record, VmmRecord, boot_id, replace};
use crate::stats::counters;
use crate::{ProofSetup, Verdict};
use banger_damage::{Answer, in_full, try_all};
use banger_model::{VmId, spec::VmmKind};
use std::path::{Path, PathBuf};

const SEED: u64 = 20_261_125;
/// What a refusal must say beside the file's name.
const WAY_OUT: &str = "stopping its VM";

struct File {
    path: PathBuf,
    /// What it says is learnt anew when it is not there.
    dispensable: bool,
    read: Box<dyn Fn() -> Answer>,
}

fn identity() -> Identity {
    Identity { boot_id: boot_id().unwrap(), pid: 4711, start_time: 123_456 }
}

fn record<R: Record + std::fmt::Debug + 'static>(path: PathBuf, record: &R) -> File {
    record.write(&path).unwrap();
    let read = {
        let path = path.clone();
        move || match R::read(&path) {
            Ok(Some(record)) => Answer::Read(format!("{record:?}")),
            Ok(None) => Answer::None,
            Err(error) => Answer::Refused(in_full(&error)),
        }
    };
    File { path, dispensable: false, read: Box::new(read) }
}

fn proof(folder: &Path) -> File {
    let file = |name: &str| {
        let path = folder.join(name);
        std::fs::write(&path, name).unwrap();
        path
    };
    let version = Version { major: 7, minor: 2, patch: 0 };
    let binary = Binary { kind: VmmKind::Qemu, path: file("qemu"), version };
    let kernel = Kernel { bzimage: Some(file("vmlinuz")), elf: None, initramfs: file("initrd"), hz: 250 };
    let setup = ProofSetup { kernel, memory_dir: folder.join("proofs"), runtime_dir: folder.into() };
    let memory = Memory::of(Engine::QemuKvm, &binary, &setup);
    memory.keep(&Verdict::Works, true);
    let read = move || memory.recall().map_or(Answer::None, |verdict| Answer::Read(format!("{verdict:?}")));
    File { path: folder.join("proofs/kvm-qemu.v1.json"), dispensable: true, read: Box::new(read) }
}

/// What it says is added up again from the file that it sums up, as far as that is still there.
fn sums(folder: &Path) -> File {
    let (metrics, path) = (folder.join("metrics.v1.jsonl"), folder.join("metrics-total.v1.json"));
    let line = "{\"block_disk0\":{\"read_bytes\":7},\"vsock\":{\"rx_bytes_count\":3}}\n";
    std::fs::write(&metrics, line.repeat(3)).unwrap();
    counters::add_up(&metrics, &path, &identity()).unwrap();
    let read = {
        let path = path.clone();
        move || match counters::add_up(&metrics, &path, &identity()) {
            Ok(total) => Answer::Read(format!("{total:?}")),
            Err(error) => Answer::Refused(error.to_string()),
        }
    };
    File { path, dispensable: true, read: Box::new(read) }
}

fn files(folder: &Path) -> Vec<File> {
    let vm = VmId::from_entropy([3; 16]);
    let vmm = VmmRecord {
        identity: identity(),
        vm,
        engine: Engine::QemuTcg,
        binary: "/usr/bin/qemu-system-x86_64".into(),
        version: Some(Version { major: 7, minor: 2, patch: 22 }),
        runtime_dir: "/run/user/1000/banger/vm/x".into(),
    };
    let companion = CompanionRecord { identity: identity(), vm, binary: "/usr/bin/banger-usernet".into() };
    vec![
        record(folder.join("vmm.v1.json"), &vmm),
        record(folder.join("usernet.v1.json"), &companion),
        proof(folder),
        sums(folder),
    ]
}

#[test]
#[expect(clippy::print_stdout, reason = "the counts are part of what is shown")]
fn a_damaged_file_is_refused_by_name_with_a_way_out_or_done_without() {
    let folder = tempfile::tempdir().unwrap();
    for File { path, dispensable, read } in files(folder.path()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        println!("{}", try_all(&path, SEED, &[&name, WAY_OUT], dispensable, read));
    }
}

#[test]
fn a_reader_during_rewrites_sees_the_old_or_the_new_and_a_failure_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.json");
    let contents = [vec![b'a'; 100_000], vec![b'b'; 70_001]];
    replace(&path, &contents[0]).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| (0..200).for_each(|round| replace(&path, &contents[round % 2]).unwrap()));
        while !writer.is_finished() {
            assert!(contents.contains(&std::fs::read(&path).unwrap()));
        }
    });
    let taken = folder.path().join("taken");
    std::fs::create_dir_all(taken.join("full")).unwrap();
    replace(&taken, b"x").unwrap_err();
    assert!(!folder.path().join("taken.new").exists());
}
