//! What the service tells the agent's other process, PID 1.
//!
//! Owns: the few orders and their way through a socket that keeps messages apart. PID 1 owns what becomes of them. When PID 1
//! becomes the image's own init, its end of the socket closes.

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use serde::{Deserialize, Serialize};
use std::io;

/// Longest order, in bytes: the path of an init with room to spare.
const LONGEST: usize = 8 * 1024;

/// What PID 1 is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Become the image's own init.
    Become {
        /// The init's file.
        init: String,
    },
    /// End the machine.
    End,
}

/// The socket's two ends.
///
/// # Errors
/// When the kernel has no socket left.
pub(crate) fn pair() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

impl Order {
    /// Sends it.
    ///
    /// # Errors
    /// When PID 1 is no longer the agent.
    pub(crate) fn send(&self, socket: &OwnedFd) -> io::Result<()> {
        let bytes = serde_json::to_vec(self)?;
        send(socket, &bytes, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The next order, if there is one.
    pub(crate) fn receive(socket: &OwnedFd) -> Received {
        let mut buffer = [0; LONGEST];
        loop {
            return match recv(socket, &mut buffer, RecvFlags::empty()) {
                Ok((0, _)) => Received::Over,
                Ok((n, _)) => serde_json::from_slice(&buffer[..n]).map_or(Received::Nothing, Received::Order),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => Received::Nothing,
                Err(_) => Received::Over,
            };
        }
    }
}

/// What was in the socket.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// An order.
    Order(Order),
    /// Nothing for now.
    Nothing,
    /// The other end is closed.
    Over,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_arrive_and_so_does_the_end() {
        let (ours, theirs) = pair().expect("a socket pair");
        assert_eq!(Order::receive(&theirs), Received::Nothing);
        let orders = [Order::Become { init: "/sbin/init".into() }, Order::End];
        for order in &orders {
            order.send(&ours).expect("the other end is open");
        }
        for order in orders {
            assert_eq!(Order::receive(&theirs), Received::Order(order));
        }
        drop(ours);
        assert_eq!(Order::receive(&theirs), Received::Over);
    }
}
