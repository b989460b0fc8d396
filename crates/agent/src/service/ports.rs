//! Where the host may be met.
//!
//! Owns: finding the agent's virtio-serial port among the machine's, and accepting connections from the host on the vsock
//! port. Must not: speak. A connection from anywhere but the host is refused: on a kernel with vsock loopback, anyone in the
//! guest could otherwise become root by asking the agent.

use crate::console;
use crate::sys;
use crate::uevent::Uevents;
use crate::virtio;
use banger_model::wire::boot_module::VirtioType;
use banger_model::wire::guest::{AGENT_PORT_NAME, AGENT_VSOCK_PORT};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, open};
use std::collections::BTreeSet;
use std::path::Path;

/// The host's number in vsock addresses.
const HOST_CID: u32 = 2;
/// The virtio device type of vsock.
const VIRTIO_SOCKET: VirtioType = 19;
/// Where the kernel lists virtio-serial ports.
const PORTS: &str = "/sys/class/virtio-ports";

/// Every way in which the host may come.
#[derive(Debug)]
pub(super) struct Ports {
    /// Tells of new devices.
    pub(super) uevents: Option<Uevents>,
    /// Takes connections.
    pub(super) listener: Option<OwnedFd>,
    in_use: BTreeSet<String>,
}

impl Ports {
    /// Listens wherever the kernel lets us.
    pub(super) fn listen() -> Self {
        // Whichever is missing is not how this machine's host comes; a machine with neither is never configured, and its
        // host gives up on it.
        let uevents = Uevents::listen().ok();
        // Without the device nobody comes; and asking for such a socket would have the kernel run the image's modprobe, and us wait.
        let listener = virtio::types().contains(&VIRTIO_SOCKET).then(|| sys::listen_vsock(AGENT_VSOCK_PORT));
        let listener = listener.and_then(Result::ok);
        if listener.is_some() {
            // Nothing tells a host when it may connect; so it watches the console, and need not ask again and again.
            console::say("ready");
        }
        Self { uevents, listener, in_use: BTreeSet::new() }
    }

    /// Opens the agent's ports that are not open yet, each with its name.
    pub(super) fn open_new(&mut self) -> Vec<(String, OwnedFd)> {
        let Ok(folder) = std::fs::read_dir(PORTS) else { return Vec::new() };
        let names = folder.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let fresh: Vec<String> = names.filter(|name| !self.in_use.contains(name) && is_ours(name)).collect();
        let mut opened = Vec::new();
        for name in fresh {
            let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
            // A port that cannot be opened now may be at the kernel's next word of it.
            if let Ok(fd) = open(Path::new("/dev").join(&name), flags, Mode::empty()) {
                self.in_use.insert(name.clone());
                opened.push((name, fd));
            }
        }
        opened
    }

    /// A port is no longer open.
    pub(super) fn closed(&mut self, name: &str) {
        self.in_use.remove(name);
    }

    /// Connections of the host that wait.
    pub(super) fn accept_all(&self) -> Vec<OwnedFd> {
        let Some(listener) = &self.listener else { return Vec::new() };
        let mut accepted = Vec::new();
        while let Ok((fd, from)) = sys::accept_vsock(listener) {
            if from == HOST_CID {
                accepted.push(fd);
            }
        }
        accepted
    }
}

fn is_ours(port: &str) -> bool {
    std::fs::read_to_string(Path::new(PORTS).join(port).join("name"))
        .is_ok_and(|name| name.trim_end() == AGENT_PORT_NAME)
}
