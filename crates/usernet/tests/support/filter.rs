//! The real program with the real `passt`.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A running filter, killed when dropped.
pub(crate) struct Filter {
    child: Child,
    /// Where QEMU would listen.
    socket: PathBuf,
    listener: Option<UnixListener>,
    folder: tempfile::TempDir,
}

impl Filter {
    /// Starts it and waits until it is ready; its last words when it is not.
    pub(crate) fn start() -> Result<Self, String> {
        Self::with_passt(Path::new("/usr/bin/passt"))
    }

    pub(crate) fn with_passt(passt: &Path) -> Result<Self, String> {
        Self::begin(passt, true)
    }

    /// One that nobody listens for.
    pub(crate) fn without_qemu() -> Result<Self, String> {
        Self::begin(Path::new("/usr/bin/passt"), false)
    }

    fn begin(passt: &Path, listens: bool) -> Result<Self, String> {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("net.sock");
        let listener = listens.then(|| UnixListener::bind(&socket).unwrap());
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_banger-usernet"))
            .args(["--vm", "0123456789ab", "--op", "op-0123456789abcdef", "--address", "10.0.2.15/24"])
            .args(["--gateway", "10.0.2.2", "--dns", "10.0.2.3", "--mtu", "65520"])
            .arg("--socket")
            .arg(&socket)
            .arg("--passt")
            .arg(passt)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut filter = Self { child, socket, listener, folder };
        if line == "ready\n" {
            return Ok(filter);
        }
        let status = filter.ended();
        Err(format!("{status}: {}", filter.log()))
    }

    /// As QEMU does: takes the connection that a filter which is ready has made.
    pub(crate) fn connect(&self) -> UnixStream {
        self.listener.as_ref().unwrap().accept().unwrap().0
    }

    /// QEMU is gone before it has taken the connection.
    pub(crate) fn hang_up(&mut self) {
        self.listener = None;
        std::fs::remove_file(&self.socket).unwrap();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its `passt`.
    pub(crate) fn passt_pid(&self) -> u32 {
        let path = format!("/proc/{0}/task/{0}/children", self.pid());
        std::fs::read_to_string(path).unwrap().trim().parse().unwrap()
    }

    /// What it has used of the processor. The kernel counts in hundredths of a second.
    pub(crate) fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields = stat.rsplit_once(')').unwrap().1.split_whitespace().skip(11).take(2);
        let ticks: u64 = fields.map(|field| field.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// How it ended. It must do so soon.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "it does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until no process has that id any more, or it is another's.
pub(crate) fn wait_until_gone(pid: u32, name: &str) {
    let start = Instant::now();
    let is_there = || {
        let mut comm = String::new();
        let read = std::fs::File::open(format!("/proc/{pid}/comm")).and_then(|mut file| file.read_to_string(&mut comm));
        let zombie = std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "));
        read.is_ok() && comm.starts_with(name) && !zombie
    };
    while is_there() {
        assert!(start.elapsed() < Duration::from_secs(20), "{name} {pid} does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}
