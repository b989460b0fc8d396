//! News of devices from the kernel.
//!
//! Owns: the socket on which the kernel announces devices. Must not interpret them: an event only says "look again", so
//! that a lost or a forged one does no harm.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use rustix::time::Timespec;
use std::time::Instant;

/// The kernel's announcements.
#[derive(Debug)]
pub(crate) struct Uevents(OwnedFd);

impl Uevents {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the kernel has no such socket.
    pub(crate) fn listen() -> rustix::io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(KOBJECT_UEVENT))?;
        bind(&socket, &SocketAddrNetlink::new(0, 1))?;
        Ok(Self(socket))
    }

    /// The descriptor to poll.
    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.0
    }

    /// Forgets all news up to now.
    pub(crate) fn drain(&self) {
        let mut buffer = [0; 4096];
        loop {
            match recv(&self.0, &mut buffer, RecvFlags::empty()) {
                // Overrun: news were lost, which is news too, and the queue is usable again.
                Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    /// Waits until there is news or `deadline` has passed; says which.
    pub(crate) fn wait(&self, deadline: Instant) -> bool {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(timeout) = Timespec::try_from(left) else { return false };
            let mut polled = [PollFd::new(&self.0, PollFlags::IN)];
            match poll(&mut polled, Some(&timeout)) {
                Ok(0) => return false,
                Ok(_) => {
                    self.drain();
                    return true;
                }
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }
}
