//! Orders to the kernel's network stack.
//!
//! Owns: the layout of the few rtnetlink messages that configure one interface, and asking the kernel and reading its
//! acknowledgement. Message layout: `linux/netlink.h`, `linux/rtnetlink.h`; native byte order, everything aligned to four.

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with};
use std::net::Ipv4Addr;

const NLMSG_ERROR: u16 = 2;
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;

const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_CREATE: u16 = 0x400;

const AF_INET: u8 = 2;
const IFF_UP: u32 = 1;
const IFLA_MTU: u16 = 4;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;

/// Length of a message's header, in bytes.
const HEADER: usize = 16;

/// One order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message(Vec<u8>);

impl Message {
    /// Interface `index` up, with the largest packet `mtu` if that is to change.
    pub(super) fn link_up(index: u32, mtu: Option<u32>) -> Self {
        let mut message = Self::new(RTM_NEWLINK, 0);
        message.bytes(&[0, 0, 0, 0]).bytes(&index.to_ne_bytes());
        message.bytes(&IFF_UP.to_ne_bytes()).bytes(&IFF_UP.to_ne_bytes());
        if let Some(mtu) = mtu {
            message.attribute(IFLA_MTU, &mtu.to_ne_bytes());
        }
        message.finish()
    }

    /// An address on interface `index`.
    pub(super) fn address(index: u32, address: Ipv4Addr, prefix: u8) -> Self {
        let mut message = Self::new(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE);
        message.bytes(&[AF_INET, prefix, 0, RT_SCOPE_UNIVERSE]).bytes(&index.to_ne_bytes());
        message.attribute(IFA_LOCAL, &address.octets()).attribute(IFA_ADDRESS, &address.octets());
        message.finish()
    }

    /// The default route by `gateway` on interface `index`.
    pub(super) fn default_route(index: u32, gateway: Ipv4Addr) -> Self {
        let mut message = Self::route(0, RT_SCOPE_UNIVERSE);
        message.attribute(RTA_GATEWAY, &gateway.octets()).attribute(RTA_OIF, &index.to_ne_bytes());
        message.finish()
    }

    /// `host` is reached on interface `index` itself.
    pub(super) fn host_route(index: u32, host: Ipv4Addr) -> Self {
        let mut message = Self::route(32, RT_SCOPE_LINK);
        message.attribute(RTA_DST, &host.octets()).attribute(RTA_OIF, &index.to_ne_bytes());
        message.finish()
    }

    fn route(prefix: u8, scope: u8) -> Self {
        let mut message = Self::new(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
        message.bytes(&[AF_INET, prefix, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, scope, RTN_UNICAST]).bytes(&[0; 4]);
        message
    }

    fn new(kind: u16, flags: u16) -> Self {
        let mut message = Self(Vec::with_capacity(64));
        message.bytes(&[0; 4]).bytes(&kind.to_ne_bytes());
        message.bytes(&(flags | NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes()).bytes(&[0; 8]);
        message
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Every value of ours is four bytes long, so none needs padding.
    fn attribute(&mut self, kind: u16, value: &[u8; 4]) -> &mut Self {
        self.bytes(&8_u16.to_ne_bytes()).bytes(&kind.to_ne_bytes()).bytes(value)
    }

    fn finish(mut self) -> Self {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self
    }
}

/// The way to the kernel.
#[derive(Debug)]
pub(super) struct Socket(OwnedFd);

impl Socket {
    /// Opens it.
    ///
    /// # Errors
    /// When the kernel has no such socket.
    pub(super) fn open() -> rustix::io::Result<Self> {
        // Protocol zero is rtnetlink.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self(socket))
    }

    /// Has an order carried out.
    ///
    /// # Errors
    /// What the kernel answers.
    pub(super) fn order(&self, message: &Message) -> rustix::io::Result<()> {
        send(&self.0, &message.0, SendFlags::empty())?;
        // The kernel carries an order out while it is sent, so the answer is there.
        let mut buffer = [0; 4096];
        let (length, _) = recv(&self.0, &mut buffer, RecvFlags::empty())?;
        acknowledgement(&buffer[..length])
    }
}

/// Reads the kernel's answer: a header, then an error number below zero, or zero.
fn acknowledgement(answer: &[u8]) -> rustix::io::Result<()> {
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let code = answer.get(HEADER..HEADER + 4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match (kind, code) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(code)) => Err(Errno::from_raw_os_error(code.saturating_neg())),
        _ => Err(Errno::PROTO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_tells_its_length() {
        let message = Message::address(3, [10, 0, 2, 15].into(), 24);
        assert_eq!(message.0.len(), HEADER + 8 + 8 + 8);
        assert_eq!(message.0[..4], 40_u32.to_ne_bytes());
        assert_eq!(message.0[HEADER..HEADER + 8], [2, 24, 0, 0, 3, 0, 0, 0]);
    }

    #[test]
    fn the_kernel_refuses_by_errno() {
        let socket = Socket::open().expect("a netlink socket");
        // There is no such interface; without root, the kernel does not even look.
        let error = socket.order(&Message::link_up(u32::MAX / 2, None)).expect_err("no such interface");
        assert!(matches!(error, Errno::NODEV | Errno::PERM), "{error}");
    }

    #[test]
    fn an_answer_of_anything_else_is_an_error() {
        for answer in [&[][..], &[0; 20], &[0; 4]] {
            assert_eq!(acknowledgement(answer), Err(Errno::PROTO));
        }
    }
}
