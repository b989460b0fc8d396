//! Which frames may pass between the guest and `passt`.
//!
//! Owns the promise of this program: the guest has the internet and a resolver, but never the host's loopback, link-local
//! or own addresses. What is not understood is dropped. Pure: a frame and a [`Policy`] give a [`Verdict`]; nothing is
//! changed, counted or sent here.

use crate::network::Network;
use crate::packet::{Ethernet, ICMP, Ipv4, TCP, TYPE_ARP, TYPE_IPV4, UDP, Udp, Unfit, icmp_kind, is_whole_tcp};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// UDP ports of multicast discovery (SSDP, WS-Discovery, mDNS, LLMNR). `passt` binds the guest's source port on the host,
/// sharing it with whoever has it already; from these the guest would take what is sent to the host's own daemons.
const DISCOVERY_PORTS: [u16; 4] = [1900, 3702, 5353, 5355];
const DNS_PORT: u16 = 53;
const DHCP_SERVER_PORT: u16 = 67;

const ECHO_REPLY: u8 = 0;
const UNREACHABLE: u8 = 3;
const ECHO_REQUEST: u8 = 8;
const TIME_EXCEEDED: u8 = 11;

/// What the verdict depends on beside the frame.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// The virtual network.
    pub(crate) network: Network,
    /// The addresses that the host itself has now.
    pub(crate) host: BTreeSet<Ipv4Addr>,
}

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It passes unchanged.
    Pass,
    /// It is meant for us and answered here.
    Answer(Service),
    /// It does not pass, and its sender may be told so.
    Refuse(Reason),
    /// It does not pass.
    Drop(Reason),
}

/// What this end of the cable answers by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    /// Who has an IPv4 address.
    Arp,
    /// What address the guest has.
    Dhcp,
}

/// Why a frame does not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// Neither IPv4 nor ARP: IPv6 and VLANs among them.
    EtherType,
    /// Truncated, padded, or with lengths that contradict each other.
    Malformed,
    /// An IPv4 header with options.
    IpOptions,
    /// A fragment: its ports cannot be seen.
    Fragment,
    /// Neither TCP, UDP, ICMP echo nor an ICMP error.
    Protocol,
    /// From the guest, but not under its address; or to the guest under another one.
    NotTheGuests,
    /// A UDP source port that would be taken from the host's own daemons.
    DiscoveryPort,
    /// 0.0.0.0/8, which Linux takes for the host itself.
    ThisHost,
    /// 127.0.0.0/8.
    Loopback,
    /// 169.254.0.0/16, clouds' metadata services among them.
    LinkLocal,
    /// Clouds' metadata services outside of 169.254.0.0/16.
    Metadata,
    /// 224.0.0.0/4.
    Multicast,
    /// 240.0.0.0/4, the broadcast address among them.
    Reserved,
    /// An address of one of the host's interfaces.
    HostAddress,
    /// In the virtual subnet, where nobody but the resolver listens.
    VirtualSubnet,
}

impl Reason {
    /// How it is called in the log.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::EtherType => "ether-type",
            Self::Malformed => "malformed",
            Self::IpOptions => "ip-options",
            Self::Fragment => "fragment",
            Self::Protocol => "protocol",
            Self::NotTheGuests => "not-the-guests",
            Self::DiscoveryPort => "discovery-port",
            Self::ThisHost => "this-host",
            Self::Loopback => "loopback",
            Self::LinkLocal => "link-local",
            Self::Metadata => "metadata",
            Self::Multicast => "multicast",
            Self::Reserved => "reserved",
            Self::HostAddress => "host-address",
            Self::VirtualSubnet => "virtual-subnet",
        }
    }
}

impl From<Unfit> for Reason {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Malformed => Self::Malformed,
            Unfit::Options => Self::IpOptions,
            Unfit::Fragment => Self::Fragment,
        }
    }
}

impl Policy {
    /// A frame on its way from the guest.
    pub(crate) fn outbound(&self, frame: &[u8]) -> Verdict {
        let Some(ethernet) = Ethernet::parse(frame) else { return Verdict::Drop(Reason::Malformed) };
        match ethernet.ethertype {
            TYPE_ARP => return Verdict::Answer(Service::Arp),
            TYPE_IPV4 => {}
            _ => return Verdict::Drop(Reason::EtherType),
        }
        let packet = match Ipv4::parse(ethernet.payload) {
            Ok(packet) => packet,
            Err(unfit) => return Verdict::Drop(unfit.into()),
        };
        let udp = (packet.protocol == UDP).then(|| Udp::parse(packet.payload));
        // The one thing that a guest says before it has an address, and to everyone.
        if udp.flatten().is_some_and(|udp| udp.destination == DHCP_SERVER_PORT) && self.is_for_dhcp(&packet) {
            return Verdict::Answer(Service::Dhcp);
        }
        if packet.source != self.network.guest {
            return Verdict::Drop(Reason::NotTheGuests);
        }
        let to_dns_port = match (packet.protocol, udp) {
            (UDP, Some(Some(udp))) if DISCOVERY_PORTS.contains(&udp.source) => {
                return Verdict::Drop(Reason::DiscoveryPort);
            }
            // `passt` takes whatever goes there for DHCP, and its parser trusts the guest.
            (UDP, Some(Some(udp))) if udp.destination == DHCP_SERVER_PORT => return Verdict::Drop(Reason::Protocol),
            (UDP, Some(Some(udp))) => udp.destination == DNS_PORT,
            (TCP, _) if is_whole_tcp(packet.payload) => false,
            (ICMP, _) => match icmp_kind(packet.payload) {
                Some((ECHO_REQUEST, 0)) => false,
                Some(_) => return Verdict::Drop(Reason::Protocol),
                None => return Verdict::Drop(Reason::Malformed),
            },
            (TCP | UDP, _) => return Verdict::Drop(Reason::Malformed),
            _ => return Verdict::Drop(Reason::Protocol),
        };
        if packet.destination == self.network.dns && to_dns_port {
            return Verdict::Pass;
        }
        match self.out_of_reach(packet.destination) {
            None => Verdict::Pass,
            Some(reason @ (Reason::Multicast | Reason::Reserved)) => Verdict::Drop(reason),
            Some(reason) => Verdict::Refuse(reason),
        }
    }

    /// A frame on its way from `passt`. It has its own copy of the rules: whoever is out of the guest's reach must not
    /// reach the guest either, as `passt` delivers whatever arrives at a UDP port that the guest has used.
    pub(crate) fn inbound(&self, frame: &[u8]) -> Verdict {
        let Some(ethernet) = Ethernet::parse(frame) else { return Verdict::Drop(Reason::Malformed) };
        if ethernet.ethertype != TYPE_IPV4 {
            return Verdict::Drop(Reason::EtherType);
        }
        let packet = match Ipv4::parse(ethernet.payload) {
            Ok(packet) => packet,
            Err(unfit) => return Verdict::Drop(unfit.into()),
        };
        if packet.destination != self.network.guest {
            return Verdict::Drop(Reason::NotTheGuests);
        }
        let from_resolver = match packet.protocol {
            TCP => false,
            UDP => Udp::parse(packet.payload).is_some_and(|udp| udp.source == DNS_PORT),
            ICMP => match icmp_kind(packet.payload) {
                Some((ECHO_REPLY | UNREACHABLE | TIME_EXCEEDED, _)) => false,
                _ => return Verdict::Drop(Reason::Protocol),
            },
            _ => return Verdict::Drop(Reason::Protocol),
        };
        if packet.source == self.network.dns && from_resolver {
            return Verdict::Pass;
        }
        self.out_of_reach(packet.source).map_or(Verdict::Pass, Verdict::Drop)
    }

    /// Why the guest and an address must not talk to each other, if so.
    fn out_of_reach(&self, address: Ipv4Addr) -> Option<Reason> {
        match address.octets() {
            [0, ..] => Some(Reason::ThisHost),
            [127, ..] => Some(Reason::Loopback),
            [169, 254, ..] => Some(Reason::LinkLocal),
            // Azure, Alibaba Cloud, and 192.0.0.0/24, which holds Oracle's.
            [168, 63, 129, 16] | [100, 100, 100, 200] | [192, 0, 0, _] => Some(Reason::Metadata),
            [224..=239, ..] => Some(Reason::Multicast),
            [240..=255, ..] => Some(Reason::Reserved),
            _ if self.network.contains(address) => Some(Reason::VirtualSubnet),
            _ if self.host.contains(&address) => Some(Reason::HostAddress),
            _ => None,
        }
    }

    fn is_for_dhcp(&self, packet: &Ipv4<'_>) -> bool {
        (packet.source.is_unspecified() || packet.source == self.network.guest)
            && (packet.destination.is_broadcast() || packet.destination == self.network.gateway)
    }
}

#[cfg(test)]
mod tests;
