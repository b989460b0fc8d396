//! What the daemon asks of the agent, and what the agent answers.

use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// The vsock port on which the agent listens.
pub const AGENT_VSOCK_PORT: u32 = 1024;
/// The name of the agent's virtio-serial port.
pub const AGENT_PORT_NAME: &str = "banger.agent";

/// A word of the kernel's command line: the machine has no disks, and its agent serves out of its initramfs. So a test guest
/// shows that the host can run one.
pub const DISKLESS: &str = "banger.diskless";

/// Where an image's own init is looked for, the first that can be executed being it: what the kernel looks for, and where
/// systemd is when nothing points to it. (The kernel also tries `/bin/init` and `/bin/sh`, of which images mean no init.)
pub const INIT_PLACES: [&str; 5] =
    ["/sbin/init", "/usr/sbin/init", "/etc/init", "/usr/lib/systemd/systemd", "/lib/systemd/systemd"];

/// Volume labels by which the agent tells a VM's disks apart, whatever order a VMM presents them in.
pub mod label {
    /// The read-only image.
    pub const IMAGE: &str = "banger-image";
    /// The read-only module tree of the kernel.
    pub const MODULES: &str = "banger-modules";
    /// The VM's writable layer over the image.
    pub const LAYER: &str = "banger-layer";
    /// The VM's work disk.
    pub const WORK: &str = "banger-work";
}

/// What a channel is opened for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Request {
    /// The first call of every boot: the VM's own facts. Answered [`Reply::Ready`] once they are in force; only then is the
    /// image's own init started. Later calls change the facts and answer alike.
    Configure(GuestConfig),
    /// Runs a command. Answered [`Reply::Started`], then data, then an exit.
    Exec(Exec),
    /// Writes the tar that follows on stdin below `path`. Answered [`Reply::Done`] with the exit behind it.
    CopyIn(CopyIn),
    /// Sends `path` as a tar on stdout, its last component as the top entry.
    CopyOut {
        /// Absolute, in the guest.
        path: String,
    },
    /// Orderly end: the image's own init is asked to power off; without one, everything is ended, synced and unmounted.
    /// Answered [`Reply::Done`] at once; the VMM's exit is the real answer.
    Shutdown,
    /// Sets the guest's clock, in nanoseconds since the epoch. Answered [`Reply::Done`].
    SetClock {
        /// Since the epoch.
        unix_ns: u64,
    },
}

/// A VM's own facts: nothing of this is in any shared file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct GuestConfig {
    /// The host name.
    pub hostname: String,
    /// Nanoseconds since the epoch, now.
    pub unix_ns: u64,
    /// The one network interface, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<GuestNetwork>,
    /// Lines for `/root/.ssh/authorized_keys`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorized_keys: Vec<String>,
    /// Whether the image's own init, if it has one, becomes PID 1.
    #[serde(default)]
    pub image_init: bool,
}

/// Addresses of the guest's interface; the agent sets them, no DHCP is needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestNetwork {
    /// The guest's address.
    pub address: Ipv4Addr,
    /// Bits of the network's prefix.
    pub prefix: u8,
    /// The default route.
    pub gateway: Ipv4Addr,
    /// Name servers, best first.
    pub dns: Vec<Ipv4Addr>,
    /// Domains to search.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// The largest packet, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
}

/// A command to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Exec {
    /// The program and its arguments; the program is looked up in the `PATH` of `env` when it has no slash. Empty: the
    /// user's login shell, else `/bin/sh`, as a login shell.
    pub argv: Vec<String>,
    /// `NAME=VALUE`, complete but for what the agent adds when missing: `PATH`, `HOME`, `USER` and, with a terminal, `TERM`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// The working folder; made when missing, as container engines do. Empty means `/`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub workdir: String,
    /// `NAME|UID[:GROUP|GID]` as in the OCI image configuration; empty means root.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// A terminal of that size; stdout and stderr are then one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tty: Option<TtySize>,
    /// Go on when the channel or the session ends. Stdin is empty, output is dropped, and the exit that ends the channel
    /// comes right after the start.
    #[serde(default)]
    pub detach: bool,
    /// Stdin is `/dev/null`; what the host sends of it is dropped. Nobody waits for the word that such a command has been
    /// started, so it may be told along with its first output or its end. Means nothing with a terminal.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_stdin: bool,
}

/// A terminal's size in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TtySize {
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub cols: u16,
}

/// Where a tar goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyIn {
    /// If this is an existing folder, the tar's top entry goes into it under its own name; otherwise its parent must exist
    /// and the top entry takes this name. As `cp -a SOURCE path`.
    pub path: String,
    /// Give every entry to this uid and gid instead of those in the tar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<(u32, u32)>,
}

/// A change to a running command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Control {
    /// The terminal has another size.
    Resize(TtySize),
    /// Send a signal to the command's process group.
    Signal(Signal),
}

/// A signal by its Linux number on x86-64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signal(pub u8);

/// What the agent answers to a request it takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// The guest's facts are in force.
    Ready(GuestFacts),
    /// A command runs.
    Started {
        /// Its process id in the guest.
        pid: u32,
    },
    /// It is done, or for copies: go on.
    Done,
}

/// What only the guest knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestFacts {
    /// The agent's version.
    pub agent: String,
    /// The kernel's release, as `uname -r` prints it.
    pub kernel: String,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// The init that becomes PID 1, if not the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
    /// Things that went wrong but did not stop the boot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum ExitStatus {
    /// It exited.
    Code(u8),
    /// A signal ended it.
    Signal(u8),
}

impl ExitStatus {
    /// The status as a shell reports it: signals as 128 + n.
    pub fn shell_code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128u8.saturating_add(signal),
        }
    }
}

/// Why the agent did not begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "refusal", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each variant's message says what it is")]
pub enum Refusal {
    /// Status 127.
    #[error("{program:?}: no such command in the guest")]
    NotFound { program: String },
    /// Status 126.
    #[error("{program:?}: the guest cannot execute it: {reason}")]
    NotExecutable { program: String, reason: String },
    #[error("user {user:?} is not in the guest's /etc/passwd or /etc/group")]
    UnknownUser { user: String },
    #[error("working folder {path:?}: {reason}")]
    Workdir { path: String, reason: String },
    #[error("{path:?} in the guest: {reason}")]
    Path { path: String, reason: String },
    #[error("{what}: {reason}")]
    Failed { what: String, reason: String },
}
