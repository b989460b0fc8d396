//! What is there after a kill, and who it belongs to: the host against what the daemon says it has.

use super::verb::State;
use banger_e2e::{Sandbox, processes, sandbox::entries};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How long what was told to end may take its last breath.
const BREATH: Duration = Duration::from_secs(10);
/// Files that a VM has as long as it is there.
const DISKS: [&str; 2] = ["layer.v1.ext4", "work.v1.ext4"];
/// Files that a VM may have besides: what its boots leave.
const LEAVINGS: [&str; 4] = ["vmm.log", "usernet.log", "metrics.v1.jsonl", "metrics-total.v1.json"];

/// All that there is. Two pictures are equal when nothing was changed in between.
#[derive(Debug, PartialEq)]
pub(super) struct Picture {
    vms: Vec<Value>,
    images: Vec<Value>,
    /// With their inodes: a file that was made anew is not the same. Not those that VMs go on writing.
    files: BTreeMap<PathBuf, u64>,
    /// But the daemon's own, and what serves nobody is in it as well.
    processes: BTreeMap<u32, String>,
}

impl Picture {
    /// Has a daemon started, if none answers, and looks. What takes its last breath is waited for.
    pub(super) fn take(sandbox: &Sandbox) -> Self {
        let start = Instant::now();
        loop {
            let picture = Self::at_once(sandbox);
            if picture.strays(sandbox).is_empty() || start.elapsed() > BREATH {
                return picture;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn at_once(sandbox: &Sandbox) -> Self {
        let list = |words: &str, of: &str| {
            let list = sandbox.banger(words).run().json();
            list[of].as_array().unwrap().clone()
        };
        let vms = list("vm list --json", "vms");
        let images = list("image list --json", "images");
        let mut files = BTreeMap::new();
        for folder in [sandbox.runtime(), sandbox.data(), sandbox.state().join("vms")] {
            walk(&folder, &mut files);
        }
        // It is made anew by each daemon.
        files.remove(&sandbox.socket());
        let served = sandbox.processes().into_iter().filter(|process| !is_daemon(&process.command));
        let mut processes: BTreeMap<u32, String> = served.map(|process| (process.pid, process.command)).collect();
        let companions: Vec<u32> =
            processes.iter().filter(|(_, command)| command.contains("banger-usernet")).map(|(pid, _)| *pid).collect();
        let helpers: Vec<_> = companions.into_iter().flat_map(processes::children).collect();
        // A helper mentions no folder of ours: those whose companion has gone are known by the words of the others.
        let alike = helpers.first().map(|helper| processes::alike(&helper.command)).unwrap_or_default();
        let left = |pid: u32| processes::session(pid).is_some_and(|leader| !processes::is_alive(leader));
        processes.extend(alike.into_iter().filter(|process| left(process.pid)).map(|p| (p.pid, p.command)));
        processes.extend(helpers.into_iter().map(|process| (process.pid, process.command)));
        Self { vms, images, files, processes }
    }

    /// The state of a VM.
    pub(super) fn vm(&self, name: &str) -> Result<State, String> {
        let Some(vm) = self.vms.iter().find(|vm| vm["name"] == name) else { return Ok(State::Absent) };
        match vm["status"].as_str() {
            Some("stopped") => Ok(State::Rest),
            Some("running") => Ok(State::Running),
            _ => Err(format!("{name} is neither at rest nor running: {vm}")),
        }
    }

    /// The state of an image.
    pub(super) fn image(&self, name: &str) -> State {
        if self.images.iter().any(|image| image["name"] == name) { State::Rest } else { State::Absent }
    }

    /// The file system of an image that is here.
    pub(super) fn root_of(&self, sandbox: &Sandbox, name: &str) -> Option<PathBuf> {
        let image = self.images.iter().find(|image| image["name"] == name)?;
        Some(sandbox.data().join("images").join(hex(&image["digest"])).join("image.ext4"))
    }

    /// What belongs to nobody, and what somebody lacks.
    pub(super) fn faults(&self, sandbox: &Sandbox) -> Vec<String> {
        let mut faults = self.strays(sandbox);
        let (folders, sockets) = (sandbox.state().join("vms"), sandbox.runtime().join("vm"));
        let ids = |wanted: &dyn Fn(&Value) -> bool| -> BTreeSet<String> {
            let wanted = self.vms.iter().filter(|vm| wanted(vm));
            wanted.map(|vm| vm["id"].as_str().unwrap().to_owned()).collect()
        };
        let mut same = |what: &str, found: BTreeSet<String>, wanted: BTreeSet<String>| {
            if found != wanted {
                faults.push(format!("{what}: {found:?} are there, but {wanted:?} should"));
            }
        };
        same("folders of VMs", names(&folders), ids(&|_| true));
        same("folders of sockets", names(&sockets), ids(&is_running));
        same("groups", groups(sandbox), ids(&|vm| is_running(vm) && has_groups(sandbox)));
        let mut digests: BTreeSet<_> = self.images.iter().map(|image| hex(&image["digest"])).collect();
        digests.extend(self.vms.iter().map(|vm| hex(&vm["spec"]["image_digest"])));
        same("images", names(&sandbox.data().join("images")), digests);
        let image_names = names(&sandbox.data().join("image-names")).len();
        if image_names != self.images.len() {
            faults.push(format!("there are {image_names} names of images, {} are told", self.images.len()));
        }
        for folder in [sandbox.data().join("staging"), sandbox.runtime().join("try")] {
            faults
                .extend(entries(&folder).iter().map(|left| format!("work in progress of nobody: {}", left.display())));
        }
        faults.extend(self.vms.iter().flat_map(|vm| self.faults_of(vm, &folders)));
        faults.extend(mounts(sandbox));
        faults
    }

    fn faults_of(&self, vm: &Value, folders: &Path) -> Vec<String> {
        let mut faults = Vec::new();
        for unexpected in ["left", "operation"] {
            if vm[unexpected].as_array().map_or(!vm[unexpected].is_null(), |list| !list.is_empty()) {
                faults.push(format!("{unexpected}: {vm}"));
            }
        }
        let running = is_running(vm);
        let networked = vm["spec"]["net"] == "user";
        if vm["running"]["offline"] == true {
            faults.push(format!("it is without its network: {vm}"));
        }
        let mut needed: BTreeSet<String> = DISKS.map(str::to_owned).into();
        let records = [("vmm.v1.json", running), ("usernet.v1.json", running && networked)];
        needed.extend(records.iter().filter(|(_, there)| *there).map(|(name, _)| (*name).to_owned()));
        let found = names(&folders.join(vm["id"].as_str().unwrap()));
        faults.extend(needed.difference(&found).map(|name| format!("{name} is missing: {vm}")));
        let more = found.difference(&needed).filter(|name| !is_leaving(name));
        faults.extend(more.map(|name| format!("a file that nobody asked for, {name}: {vm}")));
        faults
    }

    /// Processes that serve no VM that runs.
    fn strays(&self, sandbox: &Sandbox) -> Vec<String> {
        let mut owned = BTreeSet::new();
        for vm in self.vms.iter().filter(|vm| is_running(vm)) {
            let vmm = vm["running"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
            let folder = sandbox.state().join("vms").join(vm["id"].as_str().unwrap());
            let companion = recorded(&folder.join("usernet.v1.json"));
            owned.extend(companion.into_iter().flat_map(processes::children).map(|helper| helper.pid));
            owned.extend(vmm.into_iter().chain(companion));
        }
        let strays = self.processes.iter().filter(|(pid, _)| !owned.contains(pid));
        strays.map(|(pid, command)| format!("a process that serves nobody, {pid}: {command}")).collect()
    }
}

/// The processes of VMs that no record leads to, while no daemon lives: one that comes would not know them.
pub(super) fn unrecorded(sandbox: &Sandbox) -> Vec<String> {
    let folders = entries(&sandbox.state().join("vms"));
    let records = folders.iter().flat_map(|folder| ["vmm.v1.json", "usernet.v1.json"].map(|name| folder.join(name)));
    let known: BTreeSet<u32> = records.filter_map(|record| recorded(&record)).collect();
    // Before it becomes its program, a process that waits to be recorded is a copy of the daemon.
    let ours = |command: &str| command.split(' ').next().is_some_and(|program| program.ends_with("/banger"));
    let strangers = sandbox.processes().into_iter().filter(|process| !known.contains(&process.pid));
    let strangers = strangers.filter(|process| !is_daemon(&process.command) && !ours(&process.command));
    strangers.map(|process| format!("a process without a record, {}: {}", process.pid, process.command)).collect()
}

fn is_daemon(command: &str) -> bool {
    command.split(' ').next().is_some_and(|program| program.ends_with("/bangerd"))
}

/// Whether it is what a boot of a VM leaves behind, or goes on writing.
fn is_leaving(name: &str) -> bool {
    LEAVINGS.contains(&name) || (name.starts_with("console.") && name.ends_with(".log"))
}

fn is_running(vm: &Value) -> bool {
    vm["status"] == "running"
}

/// The process of a record.
fn recorded(record: &Path) -> Option<u32> {
    let record: Value = serde_json::from_slice(&fs::read(record).ok()?).ok()?;
    u32::try_from(record["pid"].as_u64()?).ok()
}

fn hex(digest: &Value) -> String {
    digest.as_str().unwrap().trim_start_matches("sha256:").to_owned()
}

fn names(folder: &Path) -> BTreeSet<String> {
    let name = |path: PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    entries(folder).into_iter().map(name).collect()
}

fn walk(folder: &Path, files: &mut BTreeMap<PathBuf, u64>) {
    for path in entries(folder) {
        let Ok(found) = fs::symlink_metadata(&path) else { continue };
        if found.is_dir() {
            walk(&path, files);
        }
        if !path.file_name().is_some_and(|name| is_leaving(&name.to_string_lossy())) {
            files.insert(path, found.ino());
        }
    }
}

/// The part of the tree of control groups in which the daemon's VMs have theirs, if they have.
fn group_base(sandbox: &Sandbox) -> Option<PathBuf> {
    let pid = fs::read_to_string(sandbox.state().join("bangerd.lock")).ok()?;
    let own = fs::read_to_string(format!("/proc/{}/cgroup", pid.trim())).ok()?;
    let base = own.lines().find_map(|line| line.strip_prefix("0::/"))?.strip_suffix("/daemon")?;
    Some(Path::new("/sys/fs/cgroup").join(base))
}

fn has_groups(sandbox: &Sandbox) -> bool {
    group_base(sandbox).is_some()
}

/// The VMs that have a control group.
fn groups(sandbox: &Sandbox) -> BTreeSet<String> {
    let found = group_base(sandbox).map(|base| names(&base)).unwrap_or_default();
    found.iter().filter_map(|name| name.strip_prefix("vm-")).map(str::to_owned).collect()
}

/// Mounts and loop devices of our folders.
fn mounts(sandbox: &Sandbox) -> Vec<String> {
    let ours = [sandbox.data(), sandbox.state(), sandbox.runtime()].map(|folder| folder.display().to_string());
    let is_ours = |text: &str| ours.iter().any(|folder| text.contains(folder.as_str()));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let loops = entries(Path::new("/sys/block")).into_iter();
    let backing = loops.filter_map(|device| fs::read_to_string(device.join("loop/backing_file")).ok());
    let found = mounts.lines().map(str::to_owned).chain(backing).filter(|text| is_ours(text));
    found.map(|text| format!("something is mounted: {text}")).collect()
}
