//! The filter as a table.

use super::*;
use crate::network::{OUR_MAC, example};
use proptest::prelude::*;

const GUEST_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 1];
const OUTSIDE: &str = "198.51.100.7";
const HOST: &str = "192.0.2.2";

fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn policy() -> Policy {
    Policy { network: example(), host: [ip("127.0.0.1"), ip(HOST)].into() }
}

fn frame(from: &str, to: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let packet = Ipv4 { source: ip(from), destination: ip(to), protocol, payload }.build().unwrap();
    Ethernet::build(OUR_MAC, GUEST_MAC, TYPE_IPV4, &packet)
}

fn udp(from: (&str, u16), to: (&str, u16)) -> Vec<u8> {
    let segment = Udp { source: from.1, destination: to.1, payload: b"x" }.build(ip(from.0), ip(to.0)).unwrap();
    frame(from.0, to.0, UDP, &segment)
}

fn tcp(from: &str, to: &str) -> Vec<u8> {
    let mut segment = [0; 20];
    segment[12] = 0x50;
    frame(from, to, TCP, &segment)
}

fn icmp(from: &str, to: &str, kind: u8, code: u8) -> Vec<u8> {
    frame(from, to, ICMP, &[kind, code, 0, 0, 0, 0, 0, 0])
}

const ME: &str = "10.0.2.15";

/// Every address that is out of reach, and what the guest is told.
const FORBIDDEN: [(&str, Reason); 17] = [
    ("0.0.0.0", Reason::ThisHost),
    ("0.255.0.1", Reason::ThisHost),
    ("127.0.0.1", Reason::Loopback),
    ("127.255.255.254", Reason::Loopback),
    ("169.254.0.1", Reason::LinkLocal),
    ("169.254.169.254", Reason::LinkLocal),
    ("168.63.129.16", Reason::Metadata),
    ("100.100.100.200", Reason::Metadata),
    ("192.0.0.192", Reason::Metadata),
    ("224.0.0.251", Reason::Multicast),
    ("239.255.255.250", Reason::Multicast),
    ("240.0.0.1", Reason::Reserved),
    ("255.255.255.255", Reason::Reserved),
    (HOST, Reason::HostAddress),
    ("10.0.2.2", Reason::VirtualSubnet),
    ("10.0.2.3", Reason::VirtualSubnet),
    ("10.0.2.255", Reason::VirtualSubnet),
];

#[test]
fn the_outside_is_in_reach_both_ways() {
    let policy = policy();
    for to in [OUTSIDE, "192.0.2.1", "192.0.2.3", "10.0.3.1", "100.100.100.201", "168.63.129.17", "128.0.0.1"] {
        assert_eq!(policy.outbound(&tcp(ME, to)), Verdict::Pass, "TCP to {to}");
        assert_eq!(policy.outbound(&udp((ME, 4000), (to, 53))), Verdict::Pass, "UDP to {to}");
        assert_eq!(policy.outbound(&icmp(ME, to, 8, 0)), Verdict::Pass, "a ping to {to}");
        assert_eq!(policy.inbound(&tcp(to, ME)), Verdict::Pass, "TCP from {to}");
        assert_eq!(policy.inbound(&udp((to, 53), (ME, 4000))), Verdict::Pass, "UDP from {to}");
        for kind in [0, 3, 11] {
            assert_eq!(policy.inbound(&icmp(to, ME, kind, 0)), Verdict::Pass, "ICMP {kind} from {to}");
        }
    }
}

#[test]
fn the_host_and_what_is_near_it_are_out_of_reach_both_ways() {
    let policy = policy();
    for (address, reason) in FORBIDDEN {
        let expected = match reason {
            Reason::Multicast | Reason::Reserved => Verdict::Drop(reason),
            _ => Verdict::Refuse(reason),
        };
        assert_eq!(policy.outbound(&tcp(ME, address)), expected, "TCP to {address}");
        assert_eq!(policy.outbound(&udp((ME, 4000), (address, 4001))), expected, "UDP to {address}");
        assert_eq!(policy.outbound(&icmp(ME, address, 8, 0)), expected, "a ping to {address}");
        assert_eq!(policy.inbound(&tcp(address, ME)), Verdict::Drop(reason), "TCP from {address}");
        assert_eq!(policy.inbound(&udp((address, 4001), (ME, 4000))), Verdict::Drop(reason), "UDP from {address}");
    }
}

#[test]
fn of_the_virtual_subnet_only_the_name_server_answers_and_only_names() {
    let policy = policy();
    let virtual_subnet = Verdict::Refuse(Reason::VirtualSubnet);
    assert_eq!(policy.outbound(&udp((ME, 4000), ("10.0.2.3", 53))), Verdict::Pass);
    assert_eq!(policy.inbound(&udp(("10.0.2.3", 53), (ME, 4000))), Verdict::Pass);
    assert_eq!(policy.outbound(&udp((ME, 4000), ("10.0.2.2", 53))), virtual_subnet);
    assert_eq!(policy.outbound(&tcp(ME, "10.0.2.3")), virtual_subnet, "older versions of passt would go there");
    assert_eq!(policy.inbound(&udp(("10.0.2.3", 54), (ME, 4000))), Verdict::Drop(Reason::VirtualSubnet));
}

#[test]
fn arp_and_dhcp_are_answered_here() {
    let policy = policy();
    let arp = Ethernet::build([0xff; 6], GUEST_MAC, TYPE_ARP, &[]);
    assert_eq!(policy.outbound(&arp), Verdict::Answer(Service::Arp));
    for (from, to) in [("0.0.0.0", "255.255.255.255"), (ME, "255.255.255.255"), (ME, "10.0.2.2")] {
        assert_eq!(policy.outbound(&udp((from, 68), (to, 67))), Verdict::Answer(Service::Dhcp), "{from} to {to}");
    }
    assert_eq!(policy.outbound(&udp((ME, 68), (OUTSIDE, 67))), Verdict::Drop(Reason::Protocol));
    let elsewhere = udp(("10.0.2.16", 68), ("255.255.255.255", 67));
    assert_eq!(policy.outbound(&elsewhere), Verdict::Drop(Reason::NotTheGuests));
    // `passt` speaks neither to the guest.
    assert_eq!(policy.inbound(&arp), Verdict::Drop(Reason::EtherType));
    let offer = udp(("10.0.2.2", 67), (ME, 68));
    assert_eq!(policy.inbound(&offer), Verdict::Drop(Reason::VirtualSubnet));
}

#[test]
fn what_is_not_understood_is_dropped() {
    let policy = policy();
    let with = |mut frame: Vec<u8>, at: usize, byte: u8| {
        frame[at] = byte;
        frame
    };
    let ipv6 = Ethernet::build(OUR_MAC, GUEST_MAC, 0x86dd, &[0x60; 60]);
    let vlan = Ethernet::build(OUR_MAC, GUEST_MAC, 0x8100, &[0; 60]);
    for (frame, reason) in [
        (vec![0; 13], Reason::Malformed),
        (ipv6, Reason::EtherType),
        (vlan, Reason::EtherType),
        ([tcp(ME, OUTSIDE), vec![0]].concat(), Reason::Malformed),
        (with(tcp(ME, OUTSIDE), 14, 0x46), Reason::IpOptions),
        (with(tcp(ME, OUTSIDE), 20, 0x20), Reason::Fragment),
        (with(tcp(ME, OUTSIDE), 46, 0x60), Reason::Malformed),
        (with(udp((ME, 4000), (OUTSIDE, 80)), 39, 8), Reason::Malformed),
        (frame(ME, OUTSIDE, ICMP, &[8, 0]), Reason::Malformed),
        (icmp(ME, OUTSIDE, 8, 1), Reason::Protocol),
        (icmp(ME, OUTSIDE, 5, 0), Reason::Protocol),
        (frame(ME, OUTSIDE, 132, &[0; 40]), Reason::Protocol),
        (tcp("10.0.2.16", OUTSIDE), Reason::NotTheGuests),
        (tcp("127.0.0.1", OUTSIDE), Reason::NotTheGuests),
        (udp((ME, 5353), (OUTSIDE, 80)), Reason::DiscoveryPort),
    ] {
        assert_eq!(policy.outbound(&frame), Verdict::Drop(reason), "{frame:02x?}");
    }
    for (frame, reason) in [
        (vec![0; 13], Reason::Malformed),
        (tcp(OUTSIDE, "10.0.2.16"), Reason::NotTheGuests),
        (icmp(OUTSIDE, ME, 5, 0), Reason::Protocol),
        (icmp(OUTSIDE, ME, 8, 0), Reason::Protocol),
        (frame(OUTSIDE, ME, 132, &[0; 40]), Reason::Protocol),
    ] {
        assert_eq!(policy.inbound(&frame), Verdict::Drop(reason), "{frame:02x?}");
    }
}

proptest! {
    /// No frame, however made, goes to an address that is out of reach, but for names from the name server.
    #[test]
    fn nothing_that_passes_goes_where_it_must_not(
        ethertype in prop_oneof![Just(TYPE_IPV4), any::<u16>()],
        first in prop_oneof![Just(0x45u8), any::<u8>()],
        flags in prop_oneof![Just([0u8, 0]), any::<[u8; 2]>()],
        protocol in prop_oneof![Just(TCP), Just(UDP), Just(ICMP), any::<u8>()],
        source in prop_oneof![Just(ip(ME)), any::<u32>().prop_map(Ipv4Addr::from)],
        destination in prop_oneof![
            (0..FORBIDDEN.len()).prop_map(|at| ip(FORBIDDEN[at].0)),
            any::<u32>().prop_map(Ipv4Addr::from),
        ],
        payload: Vec<u8>,
    ) {
        let mut packet = Ipv4 { source, destination, protocol, payload: &payload }.build().unwrap();
        packet[0] = first;
        packet[6..8].copy_from_slice(&flags);
        let policy = policy();
        let frame = Ethernet::build(OUR_MAC, GUEST_MAC, ethertype, &packet);
        if policy.outbound(&frame) == Verdict::Pass {
            prop_assert_eq!(source, ip(ME));
            let name = destination == ip("10.0.2.3") && protocol == UDP && payload[2..4] == [0, 53];
            prop_assert!(name || FORBIDDEN.iter().all(|(address, _)| ip(address) != destination));
            prop_assert!(name || !destination.is_loopback() && !destination.is_link_local());
        }
    }

    #[test]
    fn hostile_bytes_never_panic(bytes: Vec<u8>) {
        let _ = policy().outbound(&bytes);
        let _ = policy().inbound(&bytes);
    }
}

/// Frames of both sides, through the filter and whoever answers: no panic, and what is passed on is what the filter knows.
#[test]
#[expect(clippy::print_stdout, reason = "how much was tried is for the reader of the log")]
fn fuzzed_frames() {
    let discover = {
        let mut message = vec![0; 240];
        message[..4].copy_from_slice(&[1, 1, 6, 0]);
        message[28..34].copy_from_slice(&GUEST_MAC);
        message[236..240].copy_from_slice(&[99, 130, 83, 99]);
        message.extend([53, 1, 1, 50, 4, 10, 0, 2, 15, 55, 3, 1, 3, 6, 255]);
        let segment =
            Udp { source: 68, destination: 67, payload: &message }.build(ip("0.0.0.0"), ip("255.255.255.255")).unwrap();
        frame("0.0.0.0", "255.255.255.255", UDP, &segment)
    };
    let arp = {
        let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1];
        arp.extend(GUEST_MAC);
        arp.extend([10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2]);
        Ethernet::build([0xff; 6], GUEST_MAC, TYPE_ARP, &arp)
    };
    let corpus =
        [discover, arp, udp((ME, 5000), (OUTSIDE, 53)), tcp(ME, OUTSIDE), icmp(ME, OUTSIDE, 8, 0), tcp(OUTSIDE, ME)];
    let words: [&[u8]; 5] = [&[127, 0, 0, 1], &[169, 254, 169, 254], &[0x45, 0], &[8, 6], &[53, 1, 3, 255]];
    let policy = policy();
    println!(
        "{}",
        banger_damage::fuzz::fuzz("frames", &corpus, &words, 1 << 20, |frame| {
            let verdicts = [policy.outbound(frame), policy.inbound(frame)];
            for verdict in verdicts {
                if let Verdict::Answer(service) = verdict {
                    let _any = crate::answer::answer(service, frame, &policy.network);
                }
            }
            let _any = crate::answer::prohibited(frame, &policy.network);
            let _any = crate::answer::is_reply(frame);
        })
    );
}
