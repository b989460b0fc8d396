//! The `passt` process that carries the guest's traffic to the host's sockets.
//!
//! Owns: its command line, its life, and what it says. It is connected by a socket pair instead of by a path, so it ends
//! by itself when this process does, however that comes about, and no file and no AppArmor path rule is involved.
//! (`PR_SET_PDEATHSIG` would not do: the kernel clears it when `passt` enters its own user namespace.)

use crate::network::{Network, OUR_MAC};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

/// Bytes asked of the kernel for each side's send buffer; it gives what `net.core.wmem_max` allows. `passt` drops frames
/// that do not fit.
const SOCKET_BUFFER: usize = 4 << 20;
/// How long it may take to end once it has hung up.
const END_BOUND: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };
/// How much of what it says is kept.
const MAX_WORDS: usize = 2048;

/// `passt` could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PasstError {
    #[error("cannot start {program:?}")]
    Spawn { program: PathBuf, source: io::Error },
    #[error("cannot make a socket pair for passt")]
    Socket(#[source] Errno),
    #[error("cannot watch passt")]
    Watch(#[source] Errno),
}

/// A running `passt`, killed when dropped.
#[derive(Debug)]
pub(crate) struct Passt {
    child: Child,
    exit: OwnedFd,
    stderr: Option<ChildStderr>,
    words: Vec<u8>,
}

impl Passt {
    /// Starts it, and returns it with the stream on which it speaks frames.
    pub(crate) fn start(program: &Path, network: &Network) -> Result<(Self, UnixStream), PasstError> {
        let (ours, its) = UnixStream::pair()
            .map_err(|error| PasstError::Socket(Errno::from_io_error(&error).unwrap_or(Errno::INVAL)))?;
        for end in [&ours, &its] {
            set_socket_send_buffer_size(end, SOCKET_BUFFER).map_err(PasstError::Socket)?;
            set_socket_recv_buffer_size(end, SOCKET_BUFFER).map_err(PasstError::Socket)?;
        }
        let mut child = Command::new(program)
            .args(arguments(network))
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(its))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| PasstError::Spawn { program: program.to_path_buf(), source })?;
        let stderr = child.stderr.take();
        let exit = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).map_err(PasstError::Watch)?;
        let passt = Self { child, exit, stderr, words: Vec::new() };
        Ok((passt, ours))
    }

    /// Readable while it has something to say.
    pub(crate) fn stderr(&self) -> Option<BorrowedFd<'_>> {
        self.stderr.as_ref().map(AsFd::as_fd)
    }

    /// Reads some of what it says; only the end of it all is kept. To be called when [`Passt::stderr`] is readable.
    pub(crate) fn listen(&mut self) {
        let mut buffer = [0; 1024];
        match self.stderr.as_mut().map(|stderr| stderr.read(&mut buffer)) {
            Some(Ok(read)) if read > 0 => {
                self.words.extend(buffer.get(..read).unwrap_or_default());
                let surplus = self.words.len().saturating_sub(MAX_WORDS);
                self.words.drain(..surplus);
            }
            Some(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => self.stderr = None,
        }
    }

    /// How it has ended and what it said last, behind a colon; nothing while it lives. Called when it hangs up, so it is
    /// about to end if it has not.
    pub(crate) fn last_words(mut self) -> String {
        let mut ended = [PollFd::new(&self.exit, PollFlags::IN)];
        if !matches!(poll(&mut ended, Some(&END_BOUND)), Ok(1)) {
            return String::new();
        }
        let status = self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        while self.stderr.is_some() {
            self.listen();
        }
        let words = String::from_utf8_lossy(&self.words);
        let words = words.trim().replace('\n', "; ");
        format!(": {status}{}{words}", if words.is_empty() { "" } else { ": " })
    }
}

impl Drop for Passt {
    fn drop(&mut self) {
        // Both are without effect on a process that has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Its options. The interface is named, as otherwise it insists on a default route; nothing is taken from it, as all
/// that it could be asked for is given. IPv6 is off, as what passes is filtered for IPv4 only. `--dns-forward` without
/// `--dns` makes it take the first IPv4 resolver of the host's `resolv.conf`.
fn arguments(network: &Network) -> Vec<String> {
    let mac = OUR_MAC.map(|byte| format!("{byte:02x}")).join(":");
    let alone = ["--foreground", "--quiet", "--stderr", "--ipv4-only", "--no-map-gw", "--no-dhcp", "--no-ndp"];
    let with_value = [
        ("--fd", "0".to_owned()),
        ("--interface", "lo".to_owned()),
        ("--mac-addr", mac),
        ("--address", network.guest.to_string()),
        ("--netmask", network.prefix.to_string()),
        ("--gateway", network.gateway.to_string()),
        ("--dns-forward", network.dns.to_string()),
        ("--search", "none".to_owned()),
        ("--mtu", network.mtu.to_string()),
        ("--tcp-ports", "none".to_owned()),
        ("--udp-ports", "none".to_owned()),
    ];
    let with_value = with_value.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
    alone.into_iter().map(str::to_owned).chain(with_value).collect()
}
