//! One user's home with a daemon of its own. Its end is a test, too: nothing may be left.

use crate::{
    BOUND,
    call::{Call, Output},
    fixture,
    place::{Place, search_path},
    processes, surroundings, wait_for,
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// What a test's VMs are like unless it says otherwise: small, and made of the busybox image.
const DEFAULTS: &str = "[vm]\nmemory = \"256MiB\"\nvcpu = 1\ndisk-size = \"1GiB\"\n";

/// Variables of the surroundings that programs may need to reach the network.
const PASSED_ON: [&str; 8] =
    ["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "APT_CONFIG"];

/// A home, its daemon, and everything they leave. Dropped after a success it asserts that nothing is left; after a
/// failure it shows what there is to know, and tidies up.
#[derive(Debug)]
pub struct Sandbox {
    root: PathBuf,
    runtime: PathBuf,
    env: BTreeMap<OsString, OsString>,
    programs: PathBuf,
    finished: bool,
}

impl Sandbox {
    /// A home where the busybox image and the kernel are there already.
    pub fn new() -> Self {
        let sandbox = Self::empty();
        fixture::store::copy_into(&sandbox);
        sandbox.configure(&format!("image = \"{}\"\n", fixture::image::busybox_reference()));
        sandbox
    }

    /// The home that processes share, and whether it has just been made, as [`Sandbox::new`] does.
    pub fn shared(folder: &Path) -> (Self, bool) {
        let (root, runtime) = (folder.join("home"), folder.join("run"));
        let fresh = !root.exists();
        for path in [&root, &runtime] {
            fs::create_dir_all(path).unwrap();
        }
        let sandbox = Self::at(root, runtime, Place::get().programs.clone());
        if fresh {
            fixture::store::copy_into(&sandbox);
            sandbox.configure(&format!("image = \"{}\"\n", fixture::image::busybox_reference()));
        }
        (sandbox, fresh)
    }

    /// A home with nothing in it.
    pub fn empty() -> Self {
        let place = Place::get();
        Self::at(place.folder("home"), place.sockets(), place.programs.clone())
    }

    /// A home in these folders, for programs that lie there.
    pub fn at(root: PathBuf, runtime: PathBuf, programs: PathBuf) -> Self {
        let set = |name: &str, value: &Path| (OsString::from(name), value.as_os_str().to_owned());
        let mut env = BTreeMap::from([
            set("HOME", &root),
            set("XDG_RUNTIME_DIR", &runtime),
            set("XDG_DATA_HOME", &root.join("data")),
            set("XDG_STATE_HOME", &root.join("state")),
            set("XDG_CONFIG_HOME", &root.join("config")),
            ("PATH".into(), search_path().into()),
            ("LC_ALL".into(), "C".into()),
        ]);
        env.extend(PASSED_ON.iter().filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?))));
        fs::set_permissions(&runtime, fs::Permissions::from_mode(0o700)).unwrap();
        let sandbox = Self { root, runtime, env, programs, finished: false };
        if !sandbox.config().exists() {
            fs::create_dir_all(sandbox.config().parent().unwrap()).unwrap();
            sandbox.configure("");
        }
        sandbox
    }

    /// Has all calls from now on use programs of their own folder, in which that one is the guest's agent.
    pub fn take_agent(&mut self, agent: &Path) {
        let folder = self.root.join("programs");
        fs::create_dir(&folder).unwrap();
        for name in ["banger", "bangerd", "banger-usernet"] {
            fs::hard_link(self.programs.join(name), folder.join(name)).unwrap();
        }
        fs::copy(agent, folder.join("banger-agent")).unwrap();
        self.programs = folder;
    }

    /// Writes the configuration: the usual defaults, and these lines of `[vm]` and after.
    pub fn configure(&self, lines: &str) {
        fs::write(self.config(), format!("{DEFAULTS}{}{lines}", surroundings::defaults())).unwrap();
    }

    /// The home itself, and where its sockets are.
    pub fn folders(&self) -> (&Path, &Path) {
        (&self.root, &self.runtime)
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.root.join("config/banger/config.toml")
    }

    /// Images and kernels.
    pub fn data(&self) -> PathBuf {
        self.root.join("data/banger")
    }

    /// VMs and the database.
    pub fn state(&self) -> PathBuf {
        self.root.join("state/banger")
    }

    /// Sockets.
    pub fn runtime(&self) -> PathBuf {
        self.runtime.join("banger")
    }

    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.runtime().join("api.sock")
    }

    /// A folder for a test's own files, which goes with the rest.
    pub fn scratch(&self) -> PathBuf {
        let path = self.root.join("scratch");
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// Changes the environment of all calls from now on.
    pub fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.env.insert(name.into(), value.into());
    }

    /// The environment of every call.
    pub fn env(&self) -> &BTreeMap<OsString, OsString> {
        &self.env
    }

    /// `banger` with these words, split at spaces.
    pub fn banger(&self, words: &str) -> Call {
        let call = Call::new(self.programs.join("banger")).only(&self.env).folder(&self.scratch());
        call.words(words)
    }

    /// Another program in the same surroundings.
    pub fn tool(&self, program: impl AsRef<std::ffi::OsStr>) -> Call {
        Call::new(program).only(&self.env).folder(&self.scratch())
    }

    /// Asks the API by way of `curl`: a method, a path below `/v1`, and a body if any.
    pub fn api(&self, method: &str, path: &str, body: Option<&Value>) -> Call {
        let call = self.tool("curl").words("-sS --unix-socket").arg(self.socket());
        let call = call.arg("-X").arg(method).arg(format!("http://localhost/v1{path}"));
        match body {
            Some(body) => call.words("-H content-type:application/json --data").arg(body.to_string()),
            None => call,
        }
    }

    /// Creates and starts a VM.
    pub fn vm(&self, name: &str) -> Vm<'_> {
        self.vm_with(name, "")
    }

    /// The same, with more words for `vm create`.
    pub fn vm_with(&self, name: &str, words: &str) -> Vm<'_> {
        self.banger(&format!("vm create --name {name} {words}")).run().ok();
        self.banger(&format!("vm start {name}")).run().ok();
        Vm { sandbox: self, name: name.to_owned() }
    }

    /// A VM that is there.
    pub fn existing(&self, name: &str) -> Vm<'_> {
        Vm { sandbox: self, name: name.to_owned() }
    }

    /// The names of all VMs.
    pub fn vm_names(&self) -> Vec<String> {
        let list = self.banger("vm list --json").run().json();
        let vms = list["vms"].as_array().unwrap();
        vms.iter().map(|vm| vm["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until the daemon itself is gone.
    pub fn stop_daemon(&self) {
        let pid = self.daemon_pid();
        self.banger("daemon stop").run().ok();
        wait_for("the daemon's end", || (!processes::is_alive(pid)).then_some(()));
    }

    /// The daemon's process; starts one when there is none.
    pub fn daemon_pid(&self) -> u32 {
        self.banger("vm list --quiet").run().ok();
        let status = self.banger("daemon status --json").run().json();
        u32::try_from(status["pid"].as_u64().unwrap()).unwrap()
    }

    /// Ends the daemon as a crash does, and waits until it is gone.
    pub fn kill_daemon(&self, pid: u32) {
        processes::kill(pid);
        wait_for("the daemon's end", || (!processes::is_alive(pid)).then_some(()));
    }

    /// All live processes that belong here.
    pub fn processes(&self) -> Vec<processes::Process> {
        processes::of(&[&self.root, &self.runtime])
    }

    /// No VM, and no trace of one: what must hold after any failed or finished `run --rm`, and at the end.
    #[track_caller]
    pub fn assert_no_vm_left(&self) {
        assert_eq!(self.vm_names(), Vec::<String>::new());
        self.assert_nothing_runs();
        assert_eq!(entries(&self.state().join("vms")), Vec::<PathBuf>::new(), "files of a VM are left");
    }

    /// No process but the daemon, no socket of a VM, no work in progress: what holds while all VMs are stopped.
    #[track_caller]
    pub fn assert_nothing_runs(&self) {
        let daemon = |process: &processes::Process| process.command.contains("bangerd");
        let rest = || self.processes().into_iter().filter(|p| !daemon(p)).collect::<Vec<_>>();
        // What has been told to end takes its last breath.
        let start = Instant::now();
        while !rest().is_empty() && start.elapsed() < BOUND / 10 {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(rest(), [], "processes are left");
        for folder in [self.runtime().join("vm"), self.data().join("staging")] {
            assert_eq!(entries(&folder), Vec::<PathBuf>::new(), "files are left");
        }
    }

    /// Deletes all VMs, ends the daemon, and asserts that nothing is left.
    ///
    /// # Panics
    /// When something is. Then it shows what there is to know, and tidies up.
    pub fn finish(mut self) {
        self.end();
        self.finished = true;
    }

    fn end(&self) {
        if self.socket().exists() {
            for name in self.vm_names() {
                self.banger("vm delete --force").arg(name).run().ok();
            }
            self.assert_no_vm_left();
            self.stop_daemon();
        }
        assert_eq!(self.processes(), [], "processes are left");
        assert!(!self.socket().exists(), "the daemon's socket is left");
        fs::remove_dir_all(&self.root).unwrap();
        // It may lie below the root.
        let _ = fs::remove_dir_all(&self.runtime);
    }

    /// What helps to understand a failure.
    fn tell(&self) {
        for (title, path) in self.logs() {
            let text = fs::read(&path).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            eprintln!("---- {title}: {}", path.display());
            for line in lines.iter().skip(lines.len().saturating_sub(20)) {
                eprintln!("{}", line.chars().take(400).collect::<String>());
            }
        }
    }

    /// The logs that there are, each with what it is of.
    pub fn logs(&self) -> Vec<(&'static str, PathBuf)> {
        let mut logs = vec![("daemon", self.state().join("bangerd.log"))];
        for vm in entries(&self.state().join("vms")) {
            let is_log = |path: &PathBuf| path.extension().is_some_and(|e| e == "log") && path.is_file();
            logs.extend(entries(&vm).into_iter().filter(is_log).map(|path| ("VM", path)));
        }
        logs
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        if std::thread::panicking() {
            self.tell();
            for process in self.processes() {
                processes::kill(process.pid);
            }
        } else {
            self.end();
        }
    }
}

/// Process ids and arguments, one process a line.
const LIST_PROCESSES: &str = "cd /proc; for p in [0-9]*; do echo $p $(tr '\\0' ' ' <$p/cmdline 2>/dev/null); done";

/// A VM of a sandbox.
#[derive(Debug, Clone)]
pub struct Vm<'a> {
    sandbox: &'a Sandbox,
    /// Its name.
    pub name: String,
}

impl Vm<'_> {
    /// `banger vm exec` of a shell script.
    pub fn sh(&self, script: &str) -> Call {
        self.exec("sh -c").arg(script)
    }

    /// `banger vm exec` of a command, split at spaces.
    pub fn exec(&self, words: &str) -> Call {
        self.exec_with("", words)
    }

    /// The same with options before the VM's name.
    pub fn exec_with(&self, options: &str, words: &str) -> Call {
        self.sandbox.banger(&format!("vm exec {options} {} --", self.name)).words(words)
    }

    /// The process in the guest whose arguments, with spaces between them, are those words.
    pub fn process(&self, words: &str) -> Option<u32> {
        let listed = self.sh(LIST_PROCESSES).run();
        listed.ok();
        Self::find_process(&listed, words)
    }

    fn find_process(listed: &Output, words: &str) -> Option<u32> {
        let found = listed.stdout.lines().find_map(|line| line.split_once(' ').filter(|(_, found)| *found == words));
        found.map(|(pid, _)| pid.parse().unwrap())
    }

    /// Waits until a process is there; the VM itself may still be coming up.
    pub fn wait_for_process(&self, words: &str) -> u32 {
        let look = || Self::find_process(&self.sh(LIST_PROCESSES).run(), words);
        wait_for(&format!("{words:?} to run in the guest"), look)
    }

    /// Waits until a process is not there.
    pub fn wait_for_end_of(&self, words: &str) {
        wait_for(&format!("{words:?} to end in the guest"), || self.process(words).is_none().then_some(()));
    }

    /// `banger vm VERB NAME`, which must succeed.
    #[track_caller]
    pub fn does(&self, verb: &str) -> Output {
        let output = self.sandbox.banger(&format!("vm {verb} {}", self.name)).run();
        output.ok();
        output
    }

    /// What `vm show` tells.
    pub fn show(&self) -> Value {
        self.sandbox.banger("vm show --json").arg(&self.name).run().json()
    }

    /// Its status.
    pub fn status(&self) -> String {
        self.show()["status"].as_str().unwrap().to_owned()
    }

    /// Waits until its status is that one.
    #[track_caller]
    pub fn becomes(&self, status: &str) {
        wait_for(&format!("{} to be {status}", self.name), || (self.status() == status).then_some(()));
    }

    /// Tells what is under way on it to end.
    pub fn cancel(&self) {
        let shown = self.show();
        let op = shown["operation"]["op"].as_str().unwrap_or_else(|| panic!("nothing is under way: {shown}"));
        self.sandbox.api("DELETE", &format!("/operations/{op}"), None).run().ok();
    }

    /// The process of its VMM.
    pub fn vmm_pid(&self) -> u32 {
        u32::try_from(self.show()["running"]["pid"].as_u64().unwrap()).unwrap()
    }
}

/// What is in a folder; nothing when it is not there.
pub fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
