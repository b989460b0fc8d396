//! QEMU's own user-mode network, which this program replaces, at the other end of the same kind of socket: a hub between
//! the two inside a QEMU that has no machine.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long QEMU may take to connect.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running one, killed when dropped.
pub(crate) struct Slirp(Child);

impl Slirp {
    /// With the stream on which a guest has it; none when there is no QEMU.
    pub(crate) fn start() -> Option<(Self, UnixStream)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let child = Command::new("qemu-system-x86_64")
            .args(["-M", "none", "-nodefaults", "-no-user-config", "-display", "none"])
            .args(["-netdev", "user,id=slirp", "-netdev", "hubport,id=one,hubid=0,netdev=slirp"])
            .args(["-netdev", &format!("stream,id=wire,server=off,addr.type=unix,addr.path={}", path.display())])
            .args(["-netdev", "hubport,id=other,hubid=0,netdev=wire"])
            .stdin(Stdio::null())
            .spawn()
            .ok()?;
        let slirp = Self(child);
        let mut fds = [PollFd::new(&listener, PollFlags::IN)];
        let connects = poll(&mut fds, Some(&Timespec::try_from(PATIENCE).unwrap())).unwrap();
        assert_eq!(connects, 1, "QEMU does not connect");
        Some((slirp, listener.accept().unwrap().0))
    }
}

impl Drop for Slirp {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
