//! `vm run --rm -- true` beside the very same VMM, started by hand, until the agent answers.

use crate::{
    measure::{Cost, median, once},
    table::Table,
};
use banger_e2e::{Sandbox, sandbox::entries, wait_for};
use std::{
    ffi::OsString,
    fs,
    io::{Read, Write},
    os::unix::{ffi::OsStringExt, net::UnixStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

const RUNS: usize = 7;

/// Both without a network, so that the VMM alone is compared; then once more as people run it.
pub(crate) fn run(table: &mut Table) {
    let sandbox = Sandbox::new();
    sandbox.banger("vm run --rm -- true").run().ok();
    let by_hand = ByHand::copy_from(&sandbox);
    let daemon = sandbox.daemon_pid();
    let ours = |words: &str| once(Some(daemon), || sandbox.banger(words).succeeds());
    let (mut run, mut with_net, mut hand) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        run.push(ours("vm run --rm --net none -- true"));
        hand.push(by_hand.boot());
        with_net.push(ours("vm run --rm -- true"));
    }
    let hand = median(hand);
    table.compared("vm run --rm -- true, no network", median(run), "the same VMM by hand", hand, 1.15);
    table.compared("vm run --rm -- true", median(with_net), "the same VMM by hand, no network", hand, 1.15);
}

/// A VMM's command line, taken from a VM of ours, with disks and sockets of its own.
struct ByHand {
    arguments: Vec<OsString>,
    folder: PathBuf,
    disks: PathBuf,
}

impl ByHand {
    fn copy_from(sandbox: &Sandbox) -> Self {
        let vm = sandbox.vm_with("model", "--net none");
        let (folder, disks) = (sandbox.scratch().join("s"), sandbox.scratch().join("disks"));
        fs::create_dir(&folder).unwrap();
        let vm_folder = entries(&sandbox.state().join("vms")).pop().unwrap();
        let sockets = entries(&sandbox.runtime().join("vm")).pop().unwrap();
        let raw = fs::read(format!("/proc/{}/cmdline", vm.vmm_pid())).unwrap();
        let replace = |argument: &[u8]| {
            let text = String::from_utf8(argument.to_vec()).unwrap();
            let text = text.replace(vm_folder.to_str().unwrap(), disks.to_str().unwrap());
            OsString::from_vec(text.replace(sockets.to_str().unwrap(), folder.to_str().unwrap()).into_bytes())
        };
        let arguments = raw.split(|byte| *byte == 0).filter(|argument| !argument.is_empty()).map(replace).collect();
        // The disks as they are before a first boot.
        sandbox.banger("vm create --name fresh --net none").run().ok();
        let fresh = entries(&sandbox.state().join("vms")).into_iter().find(|folder| *folder != vm_folder).unwrap();
        copy_disks(&fresh, &disks);
        sandbox.banger("vm delete --force model fresh").run().ok();
        Self { arguments, folder, disks }
    }

    /// From the start of the VMM to the agent's answer, then off.
    fn boot(&self) -> Cost {
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
            let mut vmm = Command::new(&self.arguments[0]);
            vmm.args(&self.arguments[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut vmm = vmm.spawn().unwrap();
            self.agent_answers();
            vmm.kill().unwrap();
            vmm.wait().unwrap();
        })
    }

    /// Greets the agent as the daemon does, until it answers.
    fn agent_answers(&self) {
        let socket = entries(&self.folder);
        let agent = |path: &PathBuf| path.to_str().is_some_and(|path| path.contains("agent"));
        let mut stream = wait_for("the agent's socket", || {
            let path = socket.iter().chain(&entries(&self.folder)).find(|path| agent(path))?.clone();
            UnixStream::connect(path).ok()
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

fn copy_disks(from: &Path, to: &Path) {
    let copy = Command::new("cp").args(["-r", "--sparse=always", "--"]).args([from, to]).status().unwrap();
    assert!(copy.success());
}
