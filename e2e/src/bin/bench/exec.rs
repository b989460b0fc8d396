//! `vm exec VM -- true` beside a process start inside the guest, and beside `ssh` over an open connection.

use crate::{
    measure::{Cost, median, repeated},
    table::Table,
};
use banger_e2e::{
    Call, Sandbox, Vm,
    need::is_root,
    place::{Place, find},
    wait_for,
};
use std::{
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

const ROUNDS: usize = 5;
const RUNS: u32 = 15;
/// What a way to the guest and back may cost beyond the process in it.
const OVERHEAD: Duration = Duration::from_millis(5);

/// All three, whatever they are.
pub(crate) fn run(table: &mut Table) {
    let sandbox = Sandbox::new();
    let vm = sandbox.vm("box");
    // In turns, so that whatever else the host does falls on both.
    let (mut row, mut rest, mut ours) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let inside = starts_inside(&vm);
        row.push(inside.row);
        rest.push(inside.rest);
        ours.push(repeated(RUNS, || vm.exec("true")));
    }
    let (row, rest, ours) = (median(row), median(rest), median(ours));
    table.plain("a process start inside the guest, one after the other", row);
    table.plain("the same, from rest", rest);
    // On an emulated processor, this alone may be more than what all of it may cost.
    match find("busybox") {
        Some(busybox) => table
            .plain("busybox true: the least that any client takes", repeated(RUNS, || Call::new(&busybox).arg("true"))),
        None => table.missing("busybox true: the least that any client takes", "no busybox"),
    }
    table.plain("banger --version: the client's own start", repeated(RUNS, || sandbox.banger("--version")));
    // It finds a guest at rest.
    table.bounded("vm exec VM -- true (the guest's start from rest + 5 ms)", ours, rest.wall + OVERHEAD);
    match Ssh::start() {
        Some(ssh) => {
            table.plain("ssh host true over a ControlMaster, for comparison", repeated(RUNS, || ssh.call("true")))
        }
        None => table.missing("ssh host true over a ControlMaster", "no sshd or ssh"),
    }
}

/// What one of many process starts takes.
struct Starts {
    /// Each right after the one before, with all that it needs at hand.
    row: Cost,
    /// Each in a guest that had nothing to do for a while, as when a command comes from outside.
    rest: Cost,
}

/// The guest's shell starts processes, by its own clock: in a row; then it rests as often, and then it rests before each start.
fn starts_inside(vm: &Vm<'_>) -> Starts {
    const MANY: u32 = 100;
    let many = |what: &str| format!("i=0; while [ $i -lt {MANY} ]; do {what}; i=$((i+1)); done; now");
    let [start, rest] = ["/bin/true", "read -t 0.02 nothing <&9"];
    let output = vm
        .sh(&format!(
            "mkfifo /tmp/never; exec 9<>/tmp/never; rm /tmp/never; now() {{ read up idle </proc/uptime; echo $up; }}; now; \
             {}; {}; {}",
            many(start),
            many(rest),
            many(&format!("{rest}; {start}"))
        ))
        .run();
    let moments: Vec<f64> = output.ok().split_whitespace().map(|word| word.parse().unwrap()).collect();
    let [row, rest, both]: [f64; 3] =
        moments.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>().try_into().unwrap();
    let of_one = |seconds: f64| Cost { wall: Duration::from_secs_f64(seconds.max(0.0) / f64::from(MANY)), cpu: None };
    Starts { row: of_one(row), rest: of_one(both - rest) }
}

/// A server of our own on loopback, and an open connection to it.
struct Ssh {
    server: Child,
    ssh: PathBuf,
    config: PathBuf,
}

impl Ssh {
    fn start() -> Option<Self> {
        let sshd = Place::get().tool("openssh-server/usr/sbin/sshd", "sshd")?;
        let (ssh, keygen) = (find("ssh")?, find("ssh-keygen")?);
        let folder = Place::get().folder("bench-ssh");
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
        for key in ["host", "user"] {
            Call::new(&keygen).words("-q -t ed25519 -N").arg("").arg("-f").arg(folder.join(key)).run().ok();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Self::server(&sshd, &folder, port);
        let config = folder.join("config");
        let text = format!(
            "Host host\n HostName 127.0.0.1\n Port {port}\n IdentityFile {0}/user\n IdentitiesOnly yes\n BatchMode yes\n \
             StrictHostKeyChecking no\n UserKnownHostsFile {0}/known\n LogLevel ERROR\n ControlMaster auto\n \
             ControlPath {1}/ssh\n ControlPersist 60\n",
            folder.display(),
            Place::get().sockets().display()
        );
        std::fs::write(&config, text).unwrap();
        wait_for("sshd to listen", || TcpStream::connect(("127.0.0.1", port)).ok());
        let ssh = Self { server, ssh, config };
        // The master stays behind with its standard error: nothing of this may be waited for.
        let mut first = ssh.call("true").into_command();
        let first = first.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        first.success().then_some(ssh)
    }

    fn server(sshd: &Path, folder: &Path, port: u16) -> Child {
        let file = folder.join("sshd_config");
        let text = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {0}/host\nAuthorizedKeysFile {0}/user.pub\nPidFile none\n\
             StrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n",
            folder.display()
        );
        std::fs::write(&file, text).unwrap();
        // Root's sshd wants a user and a folder that installing it would have made: in a namespace of its own it has them.
        let passwd = folder.join("passwd");
        // A plain shell, as others have it: what root's own reads at its start is not to be measured.
        let users = std::fs::read_to_string("/etc/passwd").unwrap().replacen(":/bin/bash\n", ":/bin/sh\n", 1);
        std::fs::write(&passwd, format!("{users}sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n")).unwrap();
        let script = "mount --bind \"$1\" /etc/passwd && mount -t tmpfs none /run && mkdir -m 755 /run/sshd && exec \"$2\" -D -f \"$3\"";
        let mut command = if is_root() && !users.contains("\nsshd:") {
            let mut command = Command::new("unshare");
            command.args(["--mount", "sh", "-c", script, "sshd"]).args([&passwd, sshd, &file]);
            command
        } else {
            let mut command = Command::new(sshd);
            command.arg("-D").arg("-f").arg(&file);
            command
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn call(&self, words: &str) -> Call {
        Call::new(&self.ssh).arg("-F").arg(&self.config).arg("host").words(words)
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        self.call("").words("-O exit").run();
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
