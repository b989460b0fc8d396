//! Control groups of VMs, where the user has a part of the host's tree to itself: how much processor, memory and how many
//! processes a VM may take, its companions included.
//!
//! Owns: finding that part, the files in it. Must not touch: anything above it, nor a group that holds somebody else's
//! processes. All of it is plain files (`Documentation/admin-guide/cgroup-v2.rst`), so a test can point it to any folder.
//!
//! The part is the group that this process is in, if the user may write there and nobody else is in it: a systemd unit with
//! `Delegate=yes`. A group that has limits for its children may hold no processes itself, so the process moves into a
//! child of its own first.

use super::group_limits::{Controller, GroupLimits};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The child that the daemon moves into. A unit with `DelegateSubgroup=daemon` starts it there.
const OWN_CHILD: &str = "daemon";
/// The daemon answers also while VMs take all that there is: ten times what each of them weighs.
const OWN_WEIGHT: u64 = 1000;
/// How long processes that were killed may stay in a group.
const EMPTY_BOUND: Duration = Duration::from_secs(5);

/// The part of the tree that is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    base: PathBuf,
    controllers: Vec<Controller>,
}

/// Why VMs have no control groups here.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message says what it is")]
pub enum NoGroups {
    #[error("this host has no cgroup v2 tree")]
    NoTree,
    #[error("the control group {} is not this user's", path.display())]
    NotOurs { path: PathBuf },
    #[error("other programs are in the same control group, {}", path.display())]
    Shared { path: PathBuf },
    #[error("the control group {} can limit neither processor nor memory nor processes", path.display())]
    NoControllers { path: PathBuf },
    #[error("cannot use the control group {}", path.display())]
    File { path: PathBuf, source: io::Error },
}

impl Groups {
    /// Takes possession of the group that this process is in. The process moves into a child of it.
    ///
    /// # Errors
    /// When it is not to be had; nothing has changed then.
    pub fn take() -> Result<Self, NoGroups> {
        let read = |path: &str| fs::read_to_string(path).map_err(|_| NoGroups::NoTree);
        let mounts = read("/proc/self/mountinfo")?;
        let own = read("/proc/self/cgroup")?;
        let place = mount_of_v2(&mounts).zip(group_in_v2(&own));
        let (mount, group) = place.ok_or(NoGroups::NoTree)?;
        Self::take_at(&mount.join(group.trim_start_matches('/')), std::process::id())
    }

    /// As [`Groups::take`], for a process in a group that is this folder.
    fn take_at(own: &Path, pid: u32) -> Result<Self, NoGroups> {
        let in_child = own.file_name().is_some_and(|name| name == OWN_CHILD);
        let base = if in_child { own.parent().unwrap_or(own) } else { own };
        let failed = |path: PathBuf| move |source| NoGroups::File { path, source };
        let writable = |path: &Path| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
        // The root of the tree is nobody's, and limits nothing.
        if !base.join("cgroup.events").exists() || !writable(base) || !writable(&base.join("cgroup.procs")) {
            return Err(NoGroups::NotOurs { path: base.into() });
        }
        let available = fs::read_to_string(base.join("cgroup.controllers")).map_err(failed(base.into()))?;
        let controllers: Vec<_> = Controller::ALL
            .into_iter()
            .filter(|controller| available.split_whitespace().any(|name| name == controller.name()))
            .collect();
        if controllers.is_empty() {
            return Err(NoGroups::NoControllers { path: base.into() });
        }
        let inside = fs::read_to_string(base.join("cgroup.procs")).map_err(failed(base.into()))?;
        if inside.split_whitespace().any(|id| id.parse() != Ok(pid)) {
            return Err(NoGroups::Shared { path: base.into() });
        }
        let child = base.join(OWN_CHILD);
        if !in_child {
            make(&child).map_err(failed(child.clone()))?;
            set(&child.join("cgroup.procs"), &pid.to_string()).map_err(failed(child.clone()))?;
        }
        let enable: Vec<_> = controllers.iter().map(|controller| format!("+{}", controller.name())).collect();
        let enabled = set(&base.join("cgroup.subtree_control"), &enable.join(" "));
        if let Err(source) = enabled {
            if !in_child {
                // Best effort: where it is does no harm.
                let _ = set(&base.join("cgroup.procs"), &pid.to_string());
                let _ = fs::remove_dir(&child);
            }
            return Err(NoGroups::File { path: base.into(), source });
        }
        if controllers.contains(&Controller::Cpu) {
            let weight = child.join("cpu.weight");
            set(&weight, &OWN_WEIGHT.to_string()).map_err(failed(weight.clone()))?;
        }
        Ok(Self { base: base.into(), controllers })
    }

    /// Where it is.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// What can be limited.
    pub fn controllers(&self) -> &[Controller] {
        &self.controllers
    }

    /// The folder of the group with that name: what [`crate::VmmConfig::cgroup`] wants.
    pub fn path(&self, name: &str) -> PathBuf {
        self.base.join(name)
    }

    /// Makes the group if need be, and sets its limits as far as they can be set here. True if it was not there.
    ///
    /// # Errors
    /// With the file that refused.
    pub fn ensure(&self, name: &str, limits: &GroupLimits) -> Result<bool, (PathBuf, io::Error)> {
        let group = self.path(name);
        let new = make(&group).map_err(|error| (group.clone(), error))?;
        for (file, value) in limits.settings(&self.controllers) {
            let path = group.join(file);
            set(&path, &value).map_err(|error| (path, error))?;
        }
        Ok(new)
    }

    /// Removes the group, and kills whatever is in it still. True if it was there. Blocks until it is empty, within a bound.
    ///
    /// # Errors
    /// When it is not emptied, or the system refuses.
    pub fn remove(&self, name: &str) -> Result<bool, (PathBuf, io::Error)> {
        let group = self.path(name);
        let because = |error| (group.clone(), error);
        if !group.is_dir() {
            return Ok(false);
        }
        // Not there before Linux 5.14: then whoever is in it ends by itself or not at all.
        let _ = set(&group.join("cgroup.kill"), "1");
        wait_until_empty(&group.join("cgroup.events")).map_err(because)?;
        match fs::remove_dir(&group) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(because(error)),
            _ => Ok(true),
        }
    }

    /// The names of the groups in it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.base)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                names.extend(entry.file_name().into_string());
            }
        }
        Ok(names)
    }
}

/// Puts a process into a group.
pub(crate) fn place(group: &Path, pid: i32) -> io::Result<()> {
    set(&group.join("cgroup.procs"), &pid.to_string())
}

/// True if it was not there.
fn make(group: &Path) -> io::Result<bool> {
    match fs::create_dir(group) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// In one write, as the kernel takes each for itself. The file must be there.
fn set(file: &Path, value: &str) -> io::Result<()> {
    OpenOptions::new().write(true).truncate(true).open(file)?.write_all(value.as_bytes())
}

/// Waits for `populated 0`; the kernel announces each change. A folder without that file is no group and holds nobody.
fn wait_until_empty(events: &Path) -> io::Result<()> {
    let file = match File::open(events) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    let deadline = Instant::now() + EMPTY_BOUND;
    while fs::read_to_string(events)?.lines().any(|line| line == "populated 1") {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "processes are in it still"));
        }
        // A change between the reading above and this is seen when the wait ends, so no wait is long.
        let short = left.min(Duration::from_millis(100));
        let short = Timespec { tv_sec: 0, tv_nsec: short.subsec_nanos().into() };
        poll(&mut [PollFd::new(&file, PollFlags::PRI)], Some(&short))?;
    }
    Ok(())
}

/// Where the v2 tree is mounted, from a text like `/proc/self/mountinfo`: the fifth field of the line whose type, after the
/// lone `-`, is `cgroup2`.
fn mount_of_v2(mounts: &str) -> Option<&Path> {
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        after.starts_with("cgroup2 ").then_some(())?;
        before.split(' ').nth(4).map(Path::new)
    })
}

/// The group in the v2 tree, from a text like `/proc/self/cgroup`: the line of hierarchy 0, which names no controllers.
fn group_in_v2(groups: &str) -> Option<&str> {
    groups.lines().find_map(|line| line.strip_prefix("0::"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    /// A folder that looks like a delegated group with these processes in it.
    fn delegated(controllers: &str, inside: &str) -> TempDir {
        let base = tempfile::tempdir().unwrap();
        for (file, content) in [
            ("cgroup.events", "populated 1\n"),
            ("cgroup.controllers", controllers),
            ("cgroup.procs", inside),
            ("cgroup.subtree_control", ""),
        ] {
            fs::write(base.path().join(file), content).unwrap();
        }
        fs::create_dir(base.path().join(OWN_CHILD)).unwrap();
        for file in ["cgroup.procs", "cpu.weight"] {
            fs::write(base.path().join(OWN_CHILD).join(file), "").unwrap();
        }
        base
    }

    fn read(base: &TempDir, file: &str) -> String {
        fs::read_to_string(base.path().join(file)).unwrap()
    }

    #[test]
    fn a_group_of_ones_own_is_taken_and_left_to_the_vms() {
        let base = delegated("cpuset cpu io memory pids\n", "4711\n");
        let groups = Groups::take_at(base.path(), 4711).unwrap();
        assert_eq!(groups.controllers(), Controller::ALL);
        assert_eq!(read(&base, "daemon/cgroup.procs"), "4711");
        assert_eq!(read(&base, "cgroup.subtree_control"), "+cpu +memory +pids");
        assert_eq!(read(&base, "daemon/cpu.weight"), "1000");
        // The next daemon, started in the child: nobody is in the group itself.
        fs::write(base.path().join("cgroup.procs"), "").unwrap();
        assert_eq!(Groups::take_at(&base.path().join(OWN_CHILD), 4712).unwrap(), groups);
    }

    #[test]
    fn what_is_not_ours_alone_is_left_as_it_is() {
        let base = delegated("cpu memory pids", "4711\n4712\n");
        assert!(matches!(Groups::take_at(base.path(), 4711), Err(NoGroups::Shared { .. })));
        let base = delegated("cpuset hugetlb", "4711\n");
        assert!(matches!(Groups::take_at(base.path(), 4711), Err(NoGroups::NoControllers { .. })));
        let base = delegated("cpu", "4711\n");
        fs::remove_file(base.path().join("cgroup.events")).unwrap();
        assert!(matches!(Groups::take_at(base.path(), 4711), Err(NoGroups::NotOurs { .. })), "the root of the tree");
        assert_eq!(read(&base, "daemon/cgroup.procs"), "");
    }

    #[test]
    fn groups_come_and_go_by_their_names() {
        let base = delegated("pids", "1\n");
        let groups = Groups::take_at(base.path(), 1).unwrap();
        let none = GroupLimits::default();
        fs::create_dir(groups.path("vm-a")).unwrap();
        fs::write(groups.path("vm-a").join("pids.max"), "max\n").unwrap();
        assert!(!groups.ensure("vm-a", &none).unwrap(), "it is there");
        assert_eq!(read(&base, "vm-a/pids.max").trim_end(), none.settings(&[Controller::Pids])[0].1);
        assert!(groups.ensure("vm-b", &none).is_err(), "nobody makes its files here");
        let mut names = groups.names().unwrap();
        names.sort();
        assert_eq!(names, ["daemon", "vm-a", "vm-b"]);
        assert!(groups.remove("vm-b").unwrap());
        assert!(!groups.remove("vm-b").unwrap());
    }

    #[test]
    fn groups_that_are_not_left_are_busy() {
        let base = delegated("pids", "1\n");
        let groups = Groups::take_at(base.path(), 1).unwrap();
        fs::create_dir(groups.path("vm-a")).unwrap();
        let events = groups.path("vm-a").join("cgroup.events");
        fs::write(&events, "populated 1\nfrozen 0\n").unwrap();
        let emptied = std::thread::spawn(move || fs::write(events, "populated 0\nfrozen 0\n"));
        // A plain folder cannot be removed with the file in it; the point is that it was waited for.
        let (_, error) = groups.remove("vm-a").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::DirectoryNotEmpty, "{error}");
        emptied.join().unwrap().unwrap();
    }

    #[test]
    fn the_tree_and_the_place_in_it() {
        let mounts = "25 1 0:22 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      30 1 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_of_v2(mounts), Some(Path::new("/sys/fs/cgroup")));
        assert_eq!(mount_of_v2("25 1 0:22 / /c rw - cgroup cgroup rw,cpu\n"), None);
        assert_eq!(group_in_v2("4:memory:/a\n0::/user.slice/b\n"), Some("/user.slice/b"));
        assert_eq!(group_in_v2("4:memory:/a\n"), None);
    }
}
