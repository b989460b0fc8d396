//! In the lab: runs the cases that the port asks for, each as a process in a cgroup of its own.
//!
//! This is root, in a delegated cgroup. A case runs as the user `tester`, unless its name begins with `root_`; its cgroup is
//! that user's, with every controller, as `Delegate=yes` gives it. At the case's end whatever is left in it is killed.

use super::{
    LabError,
    link::{BEAT, Case, Ended, Event, Order, PORT, Program},
};
use crate::{sandbox::entries, verdict::Outcome, wait_for};
use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc::channel,
    time::{Duration, Instant},
};

/// The case that boots the machine which many others use. It goes first, and what it leaves stays until all is done.
pub const SHARED: &str = "shared::the_machine_of_many_cases_is_there";
/// Where it is kept.
const SHARED_PLACE: &str = "/lab/shared";
/// As much of an output as is sent at most, in bytes: half of it from its beginning.
const MOST_OUTPUT: usize = 256 << 10;
/// Where our programs are.
const PROGRAMS: &str = "/lab/programs";
/// Enters the cgroup, becomes the user, and the program: `sh -c THIS CGROUP USER PROGRAM…`.
const ENTER: &str = r#"echo $$ >"$0/cgroup.procs" || exit 1
user=$1; shift
[ "$user" = root ] || exec setpriv --reuid="$user" --regid="$user" --init-groups --inh-caps=-all -- "$@"
exec "$@""#;

/// Does what the port says, until it says that nothing more comes.
///
/// # Errors
/// When there is no port, or it speaks nonsense.
pub fn serve() -> Result<(), LabError> {
    let port = port()?;
    // A port can be opened once.
    let from_outside = OpenOptions::new().read(true).write(true).open(&port).map_err(LabError::io("open", &port))?;
    let mut to_outside = from_outside.try_clone().map_err(LabError::io("use", &port))?;
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let seconds = uptime.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or_default();
    let mut tell = |event: &Event| -> Result<(), LabError> {
        let mut line = serde_json::to_string(event).unwrap_or_default();
        line.push('\n');
        to_outside.write_all(line.as_bytes()).map_err(LabError::io("write to", &port))
    };
    let cgroups = Cgroups::take()?;
    tell(&Event::Up { seconds, kernel: kernel.trim().to_owned() })?;
    for line in BufReader::new(from_outside).lines() {
        let line = line.map_err(LabError::io("read", &port))?;
        match serde_json::from_str(&line).map_err(|_| LabError::Nonsense { line })? {
            Order::Run(case) => run(&case, &cgroups, &mut tell)?,
            Order::End => break,
            // Our end is the lab's: see lab.service.
            Order::Stay => loop {
                std::thread::park();
            },
        }
    }
    Ok(())
}

/// Runs a case and tells how it went, and while nothing can be told of it, that the lab is still there.
fn run(case: &Case, cgroups: &Cgroups, tell: &mut dyn FnMut(&Event) -> Result<(), LabError>) -> Result<(), LabError> {
    let start = Instant::now();
    let (done, heard) = channel();
    let (outcome, output) = std::thread::scope(|scope| {
        scope.spawn(|| done.send(attempt(case, cgroups)));
        loop {
            match heard.recv_timeout(BEAT) {
                Ok(result) => return Ok(result.unwrap_or_else(|error| (Outcome::Failed, error.to_string()))),
                Err(_) => tell(&Event::Alive)?,
            }
        }
    })?;
    let seconds = start.elapsed().as_secs_f64();
    tell(&Event::Ended(Ended { name: case.name.clone(), outcome, seconds, output: cut(&output) }))
}

/// The device of the port of that name. It appears when its driver has found it.
fn port() -> Result<PathBuf, LabError> {
    let found = wait_for("the lab's port", || {
        entries(Path::new("/sys/class/virtio-ports"))
            .into_iter()
            .find(|port| fs::read_to_string(port.join("name")).is_ok_and(|name| name.trim() == PORT))
    });
    Ok(Path::new("/dev").join(found.file_name().unwrap_or_default()))
}

fn attempt(case: &Case, cgroups: &Cgroups) -> Result<(Outcome, String), LabError> {
    let function = case.name.rsplit("::").next().unwrap_or_default();
    let user = if function.starts_with("root_") { "root" } else { "tester" };
    let cgroup = cgroups.make(&case.name, user)?;
    let log = Path::new("/tmp").join(format!("{}.log", case.name.replace("::", ".")));
    let output = File::create(&log).map_err(LabError::io("make", &log))?;
    let again = output.try_clone().map_err(LabError::io("use", &log))?;
    let mut command = Command::new("sh");
    command.args(["-c", ENTER]).arg(&cgroup).arg(user).arg(Path::new(PROGRAMS).join(case.program.name()));
    match case.program {
        Program::Cases => command.args(["--exact", &case.name, "--nocapture", "--test-threads=1"]),
        Program::Bench => command.arg(&case.name),
    };
    command.envs(crate::surroundings::in_lab(SHARED_PLACE)).current_dir("/tmp");
    command.stdin(Stdio::null()).stdout(output).stderr(again);
    let mut child = command.spawn().map_err(LabError::io("start", "sh"))?;
    let (start, bound) = (Instant::now(), Duration::from_secs(case.seconds));
    let mut ended = None;
    while ended.is_none() && start.elapsed() < bound {
        ended = child.try_wait().map_err(LabError::io("wait for", "a case"))?;
        std::thread::sleep(Duration::from_millis(20));
    }
    if case.name != SHARED || !ended.is_some_and(|status| status.success()) {
        cgroups.end(&cgroup);
    }
    let _ = child.wait();
    let text = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
    let outcome = match Outcome::of(ended, &text) {
        // The runner finds nothing wrong with running nothing.
        Outcome::Ok | Outcome::Skipped
            if case.program == Program::Cases && !text.contains("test result: ok. 1 passed") =>
        {
            Outcome::Failed
        }
        outcome => outcome,
    };
    Ok((outcome, text))
}

/// What fits into a message.
fn cut(text: &str) -> String {
    if text.len() <= MOST_OUTPUT {
        return text.to_owned();
    }
    let half = MOST_OUTPUT / 2;
    let part = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n[…]\n{}", part(&text.as_bytes()[..half]), part(&text.as_bytes()[text.len() - half..]))
}

/// The part of the tree of cgroups that is ours.
struct Cgroups(PathBuf);

impl Cgroups {
    /// Moves this process aside, so that the controllers can be passed on.
    fn take() -> Result<Self, LabError> {
        let own = fs::read_to_string("/proc/self/cgroup").map_err(LabError::io("read", "/proc/self/cgroup"))?;
        let path = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default().to_owned();
        let root = Path::new("/sys/fs/cgroup").join(path);
        let aside = root.join("runner");
        fs::create_dir_all(&aside).map_err(LabError::io("make", &aside))?;
        write(&aside.join("cgroup.procs"), &std::process::id().to_string())?;
        pass_on(&root)?;
        Ok(Self(root))
    }

    fn folder(&self, case: &str) -> PathBuf {
        self.0.join(case.replace("::", "."))
    }

    /// A cgroup of that user's.
    fn make(&self, case: &str, user: &str) -> Result<PathBuf, LabError> {
        let folder = self.folder(case);
        fs::create_dir_all(&folder).map_err(LabError::io("make", &folder))?;
        let owner = Some(if user == "root" { 0 } else { 1000 });
        for path in ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"].map(|name| folder.join(name)) {
            std::os::unix::fs::chown(&path, owner, owner).map_err(LabError::io("give away", &path))?;
        }
        Ok(folder)
    }

    /// Kills what is in it, and removes it.
    fn end(&self, folder: &Path) {
        let _ = write(&folder.join("cgroup.kill"), "1");
        wait_for("a killed case to be gone", || {
            let events = fs::read_to_string(folder.join("cgroup.events")).unwrap_or_default();
            (!events.contains("populated 1")).then_some(())
        });
        remove(folder);
    }
}

/// A cgroup and those below it. One that cannot be removed is in nobody's way.
fn remove(folder: &Path) {
    for child in entries(folder).into_iter().filter(|path| path.is_dir()) {
        remove(&child);
    }
    let _ = fs::remove_dir(folder);
}

fn pass_on(folder: &Path) -> Result<(), LabError> {
    let path = folder.join("cgroup.controllers");
    let controllers = fs::read_to_string(&path).map_err(LabError::io("read", &path))?;
    let words: Vec<String> = controllers.split_whitespace().map(|name| format!("+{name}")).collect();
    write(&folder.join("cgroup.subtree_control"), &words.join(" "))
}

fn write(path: &Path, text: &str) -> Result<(), LabError> {
    fs::write(path, text).map_err(LabError::io("write", path))
}
