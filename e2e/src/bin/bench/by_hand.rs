//! The very VMM that a VM of ours runs on, with the same configuration, started by hand; and the process that is its network.

use crate::measure::{Cost, once};
use banger_e2e::{Sandbox, processes, sandbox::entries, surroundings, wait_for};
use std::{
    ffi::OsString,
    fs,
    io::{Read, Write},
    os::unix::{ffi::OsStringExt, net::UnixStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// The agent's port on vsock: crates/model/src/wire/guest.rs.
const CONNECT: &[u8] = b"CONNECT 1024\n";

/// How QEMU is given the socket of its network: one that it inherits. By hand it makes its own, at a path.
const INHERITED: &str = "addr.type=fd,addr.str=";

/// A VMM's command line, taken from a VM of ours, with disks and sockets of its own.
pub(crate) struct ByHand {
    arguments: Vec<OsString>,
    network: Option<Vec<OsString>>,
    folder: PathBuf,
    disks: PathBuf,
}

impl ByHand {
    /// Makes a VM with that `--net` for it, and takes it away again.
    pub(crate) fn copy_from(sandbox: &Sandbox, net: &str) -> Self {
        let vm = sandbox.vm_with("model", &format!("--net {net}"));
        let (folder, disks) =
            (sandbox.scratch().join(format!("s-{net}")), sandbox.scratch().join(format!("disks-{net}")));
        fs::create_dir(&folder).unwrap();
        let vm_folder = entries(&sandbox.state().join("vms")).pop().unwrap();
        let sockets = entries(&sandbox.runtime().join("vm")).pop().unwrap();
        let moved = |text: &str| {
            let text = text.replace(vm_folder.to_str().unwrap(), disks.to_str().unwrap());
            let text = text.replace(sockets.to_str().unwrap(), folder.to_str().unwrap());
            match text.split_once(INHERITED) {
                Some((before, _)) => format!("{before}addr.type=unix,addr.path={}", net_socket(&folder).display()),
                None => text,
            }
        };
        let command_line = |pid: u32| {
            let raw = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
            let replace = |word: &[u8]| OsString::from_vec(moved(std::str::from_utf8(word).unwrap()).into_bytes());
            raw.split(|byte| *byte == 0).filter(|word| !word.is_empty()).map(replace).collect::<Vec<_>>()
        };
        let mut arguments = command_line(vm.vmm_pid());
        let companion =
            processes::of(&[&sockets]).into_iter().find(|process| process.command.contains("banger-usernet"));
        let network = companion.map(|process| {
            let mut words = command_line(process.pid);
            let at = words.iter().position(|word| word == "--socket").unwrap();
            words[at + 1] = net_socket(&folder).into();
            words
        });
        if surroundings::is_firecracker() {
            // What it was told over its API, as the file that it would have been told by.
            let curl = sandbox.tool("curl").words("-sS --unix-socket").arg(sockets.join("vmm.sock"));
            let told = curl.arg("http://localhost/vm/config").run();
            let config = sandbox.scratch().join("config.json");
            fs::write(&config, moved(told.ok())).unwrap();
            arguments.truncate(1);
            // With an API that nobody uses, since the thread that serves it moves the guest's memory to where ours has it: elsewhere it
            // may happen to lie so that the host maps it in large pages, and a boot takes half as long.
            arguments.extend([
                "--api-sock".into(),
                folder.join("vmm.sock").into(),
                "--config-file".into(),
                config.into(),
            ]);
        }
        // The disks as they are before a first boot.
        sandbox.banger(&format!("vm create --name fresh --net {net}")).run().ok();
        let fresh = entries(&sandbox.state().join("vms")).into_iter().find(|folder| *folder != vm_folder).unwrap();
        copy_disks(&fresh, &disks);
        sandbox.banger("vm delete --force model fresh").run().ok();
        Self { arguments, network, folder, disks }
    }

    /// From the start of the VMM to the agent's answer, then off.
    pub(crate) fn boot(&self) -> Cost {
        let fresh = self.disks.with_extension("kept");
        if !fresh.exists() {
            copy_disks(&self.disks, &fresh);
        }
        fs::remove_dir_all(&self.disks).unwrap();
        copy_disks(&fresh, &self.disks);
        for socket in entries(&self.folder) {
            fs::remove_file(socket).unwrap();
        }
        once(None, || {
            let mut vmm = quiet(Command::new(&self.arguments[0]).args(&self.arguments[1..])).spawn().unwrap();
            let network = self.network.as_deref().map(|words| {
                wait_for("the socket of the network", || net_socket(&self.folder).exists().then_some(()));
                quiet(Command::new(&words[0]).args(&words[1..])).spawn().unwrap()
            });
            self.agent_answers();
            vmm.kill().unwrap();
            vmm.wait().unwrap();
            // It ends when its VMM does.
            network.map(|mut network| network.wait().unwrap());
        })
    }

    /// Greets the agent as the daemon does, until it answers.
    fn agent_answers(&self) {
        let socket = entries(&self.folder);
        let agent = |path: &PathBuf| path.to_str().is_some_and(|path| path.contains("agent"));
        let mut stream = wait_for("the agent's socket", || {
            let path = socket.iter().chain(&entries(&self.folder)).find(|path| agent(path))?.clone();
            let mut stream = UnixStream::connect(path).ok()?;
            if surroundings::is_firecracker() {
                stream.write_all(CONNECT).ok()?;
                // It hangs up while nothing listens in the guest.
                while !matches!(read_byte(&mut stream)?, b'\n') {}
            }
            Some(stream)
        });
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        // The magic, the version and any nonce: crates/model/src/wire/hello.rs.
        let greeting = [b"\x00bngr>g\x01\x01\x00".as_slice(), &[7; 16]].concat();
        let mut heard: Vec<u8> = Vec::new();
        wait_for("the agent's answer", || {
            stream.write_all(&greeting).unwrap();
            let mut buffer = [0; 256];
            let length = stream.read(&mut buffer).unwrap_or_default();
            heard.extend(&buffer[..length]);
            heard.windows(8).any(|window| window == b"\x00bngr<g\x01").then_some(())
        });
    }
}

/// Where QEMU is met by its network.
fn net_socket(folder: &Path) -> PathBuf {
    folder.join("net.sock")
}

fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

fn copy_disks(from: &Path, to: &Path) {
    let copy = Command::new("cp").args(["-r", "--sparse=always", "--"]).args([from, to]).status().unwrap();
    assert!(copy.success());
}

fn read_byte(stream: &mut UnixStream) -> Option<u8> {
    let mut byte = [0];
    stream.read_exact(&mut byte).ok()?;
    Some(byte[0])
}
