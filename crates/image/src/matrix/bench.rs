//! A store with what goes into it, and what can be seen of it.

use super::acts::Act;
use crate::cancel::Cancel;
use crate::image::PullOptions;
use crate::initramfs;
use crate::samples;
use crate::store::Store;
use crate::{image, kernel};
use banger_model::{Digest, ImageRef, KernelRef};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a process may take to begin.
const BOUND: Duration = Duration::from_secs(60);

/// A folder for one cell: the store, and the user's files beside it.
pub(super) struct Bench {
    pub(super) folder: PathBuf,
    store: OnceCell<Store>,
    _own: Option<tempfile::TempDir>,
}

/// What is in a store, by name: what is inside an image or a kernel belongs together, and has one name.
pub(super) type Seen = BTreeMap<String, String>;

impl Bench {
    /// Everything in place for `act`.
    pub(super) fn new(act: Act) -> Self {
        // Where syncing costs nothing, if there is such a place: nothing here loses power.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let bench = Self { folder: dir.path().to_owned(), store: OnceCell::new(), _own: Some(dir) };
        bench.put("root.tar", &samples::rootfs());
        bench.put("vmlinux", &samples::vmlinux());
        bench.put("vmlinuz", &samples::boot_image(&samples::vmlinux()));
        bench.put("kernel.deb", &samples::package());
        bench.put("agent", &samples::agent());
        fs::create_dir_all(bench.path("modules/kernel")).unwrap();
        bench.put("modules/kernel/virtio.ko", &samples::module());
        bench.open(act);
        act.arrange(&bench);
        bench
    }

    /// The bench that another process has made.
    pub(super) fn of(folder: PathBuf, act: Act) -> Self {
        let bench = Self { folder, store: OnceCell::new(), _own: None };
        bench.open(act);
        bench
    }

    /// Opens the store, unless the act does.
    fn open(&self, act: Act) {
        if act != Act::OpenStore {
            self.store();
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(super) fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    pub(super) fn store(&self) -> Store {
        self.store.get_or_init(|| Store::open(self.path("store")).unwrap()).clone()
    }

    /// What a daemon does about the store when it looks, at its start and later. Says how much it removed.
    pub(super) fn look(&self) -> usize {
        let store = Store::open(self.path("store")).unwrap();
        let nobody = |_: &Digest| false;
        let images = image::prune(&store, nobody).unwrap().len();
        let kernels = kernel::prune(&store, nobody).unwrap().len();
        let initramfs = initramfs::prune(&store, &self.path("agent"), |_| false).unwrap();
        images + kernels + initramfs + store.sweep_staging().unwrap()
    }

    /// What is in the store; work in progress is named as such.
    pub(super) fn seen(&self) -> Seen {
        let root = self.path("store");
        let mut seen = Seen::new();
        for folder in entries(&root) {
            let kind = folder.file_name().unwrap().to_string_lossy().into_owned();
            for entry in entries(&folder) {
                let content = content(&entry).replace(&*self.folder.to_string_lossy(), "FOLDER");
                // A name may hold the path of a bench, and its file is called after that.
                let name = match kind.as_str() {
                    "image-names" => content.clone(),
                    _ => entry.file_name().unwrap().to_string_lossy().into_owned(),
                };
                seen.insert(format!("{kind}/{name}"), content);
            }
            seen.insert(kind, String::new());
        }
        seen
    }

    /// Names of what is in progress, or was left there.
    pub(super) fn staged(&self) -> Vec<PathBuf> {
        entries(&self.path("store/staging"))
    }

    /// The folders that a process has locked. Asks the kernel about its open files: whoever tries a lock has it for a moment,
    /// and the list of all locks, `/proc/locks`, lacks some of them when others are released while it is read.
    pub(super) fn locked(&self, pid: u32) -> Vec<PathBuf> {
        let infos: String = read_all(inside(&format!("/proc/{pid}/fdinfo"))).collect();
        let locks = infos.lines().filter(|line| line.starts_with("lock:") && line.contains(" FLOCK "));
        let inodes: BTreeSet<u64> =
            locks.filter_map(|line| line.split_whitespace().nth(6)?.rsplit(':').next()?.parse().ok()).collect();
        let mut folders = entries(&self.path("store"));
        folders.extend(self.staged());
        folders.retain(|folder| fs::metadata(folder).is_ok_and(|metadata| inodes.contains(&metadata.ino())));
        folders
    }

    /// Nobody has locked anything. What this process is about to release is waited for, and so are processes that it begins,
    /// which have its files for a moment: looked at in this order, none comes by a lock unseen.
    pub(super) fn assert_unlocked(&self) {
        let locked = || {
            let own = std::process::id();
            let locked = self.locked(own);
            locked.into_iter().chain(children(own).into_iter().flat_map(|child| self.locked(child)))
        };
        let begun = Instant::now();
        while let Some(folder) = locked().next() {
            assert!(begun.elapsed() < BOUND, "a lock is left: {}", folder.display());
            std::thread::yield_now();
        }
    }
}

pub(super) fn image_name(text: &str) -> ImageRef {
    text.parse().unwrap()
}

pub(super) fn kernel_name(text: &str) -> KernelRef {
    text.parse().unwrap()
}

pub(super) fn options() -> PullOptions {
    PullOptions { insecure: Vec::new() }
}

pub(super) fn wanted() -> Cancel {
    Cancel::new()
}

/// The processes that the threads of one have begun.
fn children(pid: u32) -> Vec<u32> {
    let threads = inside(&format!("/proc/{pid}/task"));
    let lists: Vec<_> = read_all(threads.map(|thread| thread.join("children"))).collect();
    lists.iter().flat_map(|list| list.split_whitespace()).filter_map(|pid| pid.parse().ok()).collect()
}

/// What is in a folder of `/proc`, where things come and go while one looks.
fn inside(folder: &str) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// The content of those files that are still there.
fn read_all(files: impl Iterator<Item = PathBuf>) -> impl Iterator<Item = String> {
    files.filter_map(|file| fs::read_to_string(file).ok())
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    // A store that was not opened yet has none.
    let mut paths: Vec<_> = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// All of a file or of a folder, but for the times at which it was made.
fn content(path: &Path) -> String {
    if path.is_dir() {
        let inside = entries(path);
        let inside = inside.iter().map(|path| format!("{}={}", path.file_name().unwrap().display(), content(path)));
        return inside.collect::<Vec<_>>().join("; ");
    }
    if path.extension().is_some_and(|end| end == "json")
        && let Ok(Value::Object(mut record)) = serde_json::from_slice(&fs::read(path).unwrap())
    {
        record.remove("created_ms");
        return Value::Object(record).to_string();
    }
    format!("{} bytes {}", fs::metadata(path).unwrap().len(), digest(path))
}

/// Of a file and where its holes are: gigabytes of them are not read.
fn digest(path: &Path) -> String {
    let mut file = File::open(path).unwrap();
    let length = file.metadata().unwrap().len();
    let mut hash = Sha256::new();
    let mut at = 0;
    while at < length {
        let Ok(data) = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(at)) else { break };
        let end = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(data)).unwrap();
        rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(data)).unwrap();
        let mut bytes = Vec::new();
        file.by_ref().take(end - data).read_to_end(&mut bytes).unwrap();
        // What is stored as zeros and what is a hole reads the same.
        for (index, page) in bytes.chunks(4096).enumerate().filter(|(_, page)| page.iter().any(|byte| *byte != 0)) {
            hash.update((data + index as u64 * 4096).to_le_bytes());
            hash.update(page);
        }
        at = end;
    }
    Digest::from_bytes(hash.finalize().into()).to_string()
}
