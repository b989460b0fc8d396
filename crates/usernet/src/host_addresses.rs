//! Which IPv4 addresses the host's own interfaces have, now and after every change.
//!
//! Owns: two rtnetlink sockets, one that tells that something has changed and one that is asked for the whole list then.
//! A list is never patched, so no lost message can leave it wrong. Must not touch: the interfaces themselves.

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The multicast group in which the kernel tells of changed IPv4 addresses (`RTMGRP_IPV4_IFADDR`).
const ADDRESS_CHANGES: u32 = 0x10;
/// A list that keeps changing while it is read is read again, but not for ever.
const ATTEMPTS: usize = 16;
const HEADER_LEN: usize = 16;

mod kind {
    pub(super) const ERROR: u16 = 2;
    pub(super) const DONE: u16 = 3;
    pub(super) const NEW_ADDRESS: u16 = 20;
    pub(super) const GET_ADDRESS: u16 = 22;
}

mod flag {
    pub(super) const REQUEST: u16 = 0x1;
    pub(super) const DUMP_INTERRUPTED: u16 = 0x10;
    pub(super) const DUMP: u16 = 0x300;
}

const FAMILY_IPV4: u8 = 2;
/// The address of the interface's own end (`IFA_LOCAL`), and that of the other end where it has one (`IFA_ADDRESS`).
const ATTRIBUTE_LOCAL: u16 = 2;
const ATTRIBUTE_ADDRESS: u16 = 1;

/// The kernel did not say which addresses the host has.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostAddressesError {
    #[error("cannot {step} over rtnetlink")]
    Netlink { step: &'static str, source: Errno },
    #[error("the kernel refuses to list the host's addresses")]
    Refused(#[source] Errno),
    #[error("the kernel's list of the host's addresses is malformed")]
    Malformed,
    #[error("the host's addresses changed {ATTEMPTS} times while they were read")]
    Unsteady,
}

/// A watch on the host's addresses.
#[derive(Debug)]
pub(crate) struct HostAddresses {
    changes: OwnedFd,
    questions: OwnedFd,
}

/// The kernel's answer, as far as it has been read.
#[derive(Debug, Default, PartialEq, Eq)]
struct Answer {
    addresses: BTreeSet<Ipv4Addr>,
    /// The list changed while it was read.
    interrupted: bool,
    complete: bool,
}

impl HostAddresses {
    /// Begins to watch.
    pub(crate) fn watch() -> Result<Self, HostAddressesError> {
        Ok(Self { changes: socket(ADDRESS_CHANGES)?, questions: socket(0)? })
    }

    /// Readable once an address may have changed since the last [`HostAddresses::read`].
    pub(crate) fn changed(&self) -> BorrowedFd<'_> {
        self.changes.as_fd()
    }

    /// The addresses of all interfaces, now.
    pub(crate) fn read(&self) -> Result<BTreeSet<Ipv4Addr>, HostAddressesError> {
        self.forget_changes()?;
        for _ in 0..ATTEMPTS {
            if let Some(addresses) = self.ask()? {
                return Ok(addresses);
            }
        }
        Err(HostAddressesError::Unsteady)
    }

    /// Changes that are told of before the question is asked are in its answer.
    fn forget_changes(&self) -> Result<(), HostAddressesError> {
        let mut ignored = [0; 64];
        loop {
            match rustix::net::recv(&self.changes, &mut ignored, RecvFlags::DONTWAIT) {
                // NOBUFS: there were more than the socket could hold.
                Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(source) => return Err(HostAddressesError::Netlink { step: "learn of changed addresses", source }),
            }
        }
    }

    /// One question and its whole answer; none if the list changed meanwhile.
    fn ask(&self) -> Result<Option<BTreeSet<Ipv4Addr>>, HostAddressesError> {
        let netlink = |step| move |source| HostAddressesError::Netlink { step, source };
        rustix::net::send(&self.questions, &question(), SendFlags::empty()).map_err(netlink("ask for addresses"))?;
        let mut answer = Answer::default();
        let mut buffer = vec![0; 64 * 1024];
        while !answer.complete {
            match rustix::net::recv(&self.questions, buffer.as_mut_slice(), RecvFlags::empty()) {
                Ok((_, received)) => answer.take_in(buffer.get(..received).unwrap_or_default())?,
                Err(Errno::INTR) => {}
                Err(source) => return Err(netlink("read addresses")(source)),
            }
        }
        Ok((!answer.interrupted).then_some(answer.addresses))
    }
}

impl Answer {
    /// Reads one datagram of it.
    fn take_in(&mut self, mut datagram: &[u8]) -> Result<(), HostAddressesError> {
        while let Some(header) = datagram.first_chunk::<HEADER_LEN>() {
            let [l0, l1, l2, l3, k0, k1, f0, f1, ..] = *header;
            let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
            let body = datagram.get(HEADER_LEN..length).ok_or(HostAddressesError::Malformed)?;
            self.interrupted |= u16::from_ne_bytes([f0, f1]) & flag::DUMP_INTERRUPTED != 0;
            match u16::from_ne_bytes([k0, k1]) {
                kind::NEW_ADDRESS => self.addresses.extend(own_address(body)?),
                kind::DONE => self.complete = true,
                kind::ERROR => {
                    let code = body.first_chunk::<4>().map_or(0, |code| i32::from_ne_bytes(*code));
                    return Err(HostAddressesError::Refused(Errno::from_raw_os_error(code.saturating_neg())));
                }
                _ => {}
            }
            datagram = datagram.get(aligned(length)..).unwrap_or_default();
        }
        Ok(())
    }
}

fn socket(groups: u32) -> Result<OwnedFd, HostAddressesError> {
    let flags = SocketFlags::CLOEXEC;
    // Protocol zero is NETLINK_ROUTE.
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)
        .map_err(|source| HostAddressesError::Netlink { step: "open a socket", source })?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, groups))
        .map_err(|source| HostAddressesError::Netlink { step: "bind a socket", source })?;
    Ok(socket)
}

/// `RTM_GETADDR` for all IPv4 addresses: a netlink header, then an `ifaddrmsg` with nothing but the family.
fn question() -> [u8; HEADER_LEN + 8] {
    let mut bytes = [0; HEADER_LEN + 8];
    bytes[..4].copy_from_slice(&24u32.to_ne_bytes());
    bytes[4..6].copy_from_slice(&kind::GET_ADDRESS.to_ne_bytes());
    bytes[6..8].copy_from_slice(&(flag::REQUEST | flag::DUMP).to_ne_bytes());
    bytes[HEADER_LEN] = FAMILY_IPV4;
    bytes
}

/// The interface's own address in the body of a `RTM_NEWADDR`: an `ifaddrmsg` and attributes.
fn own_address(body: &[u8]) -> Result<Option<Ipv4Addr>, HostAddressesError> {
    let (message, mut attributes) = body.split_first_chunk::<8>().ok_or(HostAddressesError::Malformed)?;
    if message[0] != FAMILY_IPV4 {
        return Ok(None);
    }
    let (mut local, mut address) = (None, None);
    while let Some(header) = attributes.first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let value = attributes.get(4..length).ok_or(HostAddressesError::Malformed)?;
        let value = <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from);
        match u16::from_ne_bytes([header[2], header[3]]) {
            ATTRIBUTE_LOCAL => local = value,
            ATTRIBUTE_ADDRESS => address = value,
            _ => {}
        }
        attributes = attributes.get(aligned(length)..).unwrap_or_default();
    }
    local.or(address).map(Some).ok_or(HostAddressesError::Malformed)
}

/// Netlink pads everything to four bytes.
fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER_LEN + body.len()).unwrap();
        let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 8], body].concat();
        bytes.resize(aligned(bytes.len()), 0);
        bytes
    }

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
        bytes.resize(aligned(bytes.len()), 0);
        bytes
    }

    fn address(family: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
        message(kind::NEW_ADDRESS, 2, &[vec![family, 24, 0, 0, 1, 0, 0, 0], attributes.concat()].concat())
    }

    #[test]
    fn reads_the_interfaces_own_end() {
        let mut answer = Answer::default();
        let name = attribute(3, b"eth0\0");
        let plain = address(FAMILY_IPV4, &[attribute(ATTRIBUTE_ADDRESS, &[192, 0, 2, 2]), name.clone()]);
        let tunnel = [attribute(ATTRIBUTE_ADDRESS, &[10, 9, 9, 1]), attribute(ATTRIBUTE_LOCAL, &[10, 9, 9, 2]), name];
        let ipv6 = address(10, &[attribute(ATTRIBUTE_ADDRESS, &[0; 16])]);
        answer.take_in(&[plain, address(FAMILY_IPV4, &tunnel), ipv6].concat()).unwrap();
        assert!(!answer.complete);
        answer.take_in(&message(kind::DONE, 2, &[0; 4])).unwrap();
        let addresses = ["192.0.2.2", "10.9.9.2"].map(|text| text.parse().unwrap()).into();
        assert_eq!(answer, Answer { addresses, interrupted: false, complete: true });
    }

    #[test]
    fn an_interrupted_refused_or_malformed_answer_is_no_answer() {
        let mut answer = Answer::default();
        answer.take_in(&message(kind::DONE, flag::DUMP_INTERRUPTED, &[0; 4])).unwrap();
        assert!(answer.interrupted && answer.complete);
        let refused = answer.take_in(&message(kind::ERROR, 0, &(-13i32).to_ne_bytes()));
        assert!(matches!(refused, Err(HostAddressesError::Refused(Errno::ACCESS))), "{refused:?}");
        let whole = address(FAMILY_IPV4, &[attribute(ATTRIBUTE_LOCAL, &[1, 2, 3, 4])]);
        assert!(matches!(answer.take_in(&whole[..20]), Err(HostAddressesError::Malformed)));
        for bad in [vec![], vec![vec![3, 0, 2, 0]], vec![vec![200, 0, 2, 0]], vec![attribute(ATTRIBUTE_LOCAL, &[1, 2])]]
        {
            let read = answer.take_in(&address(FAMILY_IPV4, &bad));
            assert!(matches!(read, Err(HostAddressesError::Malformed)), "{bad:?}");
        }
    }

    #[test]
    fn the_running_kernel_is_understood() {
        let watch = HostAddresses::watch().unwrap();
        let addresses = watch.read().unwrap();
        // Every machine that runs tests has its loopback interface up.
        assert!(addresses.contains(&Ipv4Addr::LOCALHOST), "{addresses:?}");
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes: Vec<u8>, attributes: Vec<u8>) {
            let _ = Answer::default().take_in(&bytes);
            let _ = Answer::default().take_in(&address(FAMILY_IPV4, &[attributes]));
        }
    }
}
