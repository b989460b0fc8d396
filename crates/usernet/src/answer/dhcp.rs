//! A DHCP server (RFC 2131) with one address to give, for ever, to whoever is at the other end of the cable.
//!
//! The agent sets the same facts statically; this is for images whose own init runs a DHCP client over them.

use super::is_unicast;
use crate::network::{Mac, Network, OUR_MAC};
use crate::packet::{Ethernet, Ipv4, TYPE_IPV4, UDP, Udp};
use std::net::Ipv4Addr;

/// Bytes before the options: the fixed fields and the magic cookie.
const FIXED_LEN: usize = 240;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
const CLIENT_PORT: u16 = 68;
const SERVER_PORT: u16 = 67;
/// The shortest message that every client takes (RFC 1542, section 2.1).
const MIN_LEN: usize = 300;

mod option {
    pub(super) const PAD: u8 = 0;
    pub(super) const NETMASK: u8 = 1;
    pub(super) const ROUTER: u8 = 3;
    pub(super) const DNS: u8 = 6;
    pub(super) const MTU: u8 = 26;
    pub(super) const REQUESTED_ADDRESS: u8 = 50;
    pub(super) const LEASE_SECONDS: u8 = 51;
    pub(super) const MESSAGE_TYPE: u8 = 53;
    pub(super) const SERVER: u8 = 54;
    pub(super) const END: u8 = 255;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Message {
    Discover = 1,
    Offer = 2,
    Request = 3,
    Ack = 5,
    Nak = 6,
    Inform = 8,
}

struct Question<'a> {
    fixed: &'a [u8; FIXED_LEN],
    message: Message,
    /// The address that the client asks for or already uses.
    wanted: Option<Ipv4Addr>,
    /// The server that it has chosen.
    server: Option<Ipv4Addr>,
}

pub(super) fn answer(frame: &[u8], network: &Network) -> Option<Vec<u8>> {
    let ethernet = Ethernet::parse(frame)?;
    let packet = Ipv4::parse(ethernet.payload).ok()?;
    let question = Question::parse(Udp::parse(packet.payload)?.payload)?;
    if !is_unicast(ethernet.source) || question.server.is_some_and(|server| server != network.gateway) {
        return None;
    }
    let message = match question.message {
        Message::Discover => Message::Offer,
        Message::Request if question.wanted == Some(network.guest) => Message::Ack,
        Message::Request => Message::Nak,
        Message::Inform => Message::Ack,
        Message::Offer | Message::Ack | Message::Nak => return None,
    };
    reply(&question, message, ethernet.source, network)
}

impl<'a> Question<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (fixed, mut options) = bytes.split_first_chunk::<FIXED_LEN>()?;
        let is_request_by_ethernet = fixed[..3] == [1, 1, 6];
        if !is_request_by_ethernet || fixed[236..] != COOKIE {
            return None;
        }
        let used = Ipv4Addr::new(fixed[12], fixed[13], fixed[14], fixed[15]);
        let (mut message, mut requested, mut server) = (None, None, None);
        while let Some((&code, rest)) = options.split_first() {
            options = match code {
                option::PAD => rest,
                option::END => break,
                _ => {
                    let (&length, rest) = rest.split_first()?;
                    let (value, rest) = rest.split_at_checked(usize::from(length))?;
                    let address = <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from);
                    match code {
                        option::MESSAGE_TYPE => message = value.first().copied(),
                        option::REQUESTED_ADDRESS => requested = address,
                        option::SERVER => server = address,
                        _ => {}
                    }
                    rest
                }
            };
        }
        let message = [Message::Discover, Message::Request, Message::Inform]
            .into_iter()
            .find(|known| Some(*known as u8) == message)?;
        let wanted = requested.or(Some(used).filter(|used| !used.is_unspecified()));
        Some(Self { fixed, message, wanted, server })
    }
}

fn reply(question: &Question<'_>, message: Message, client: Mac, network: &Network) -> Option<Vec<u8>> {
    let gives = match (message, question.message) {
        (Message::Nak, _) => None,
        (_, Message::Inform) => None,
        _ => Some(network.guest),
    };
    let mut body = question.fixed.to_vec();
    body[0] = 2; // a reply
    body[3] = 0; // hops
    body[8..10].fill(0); // seconds since the client began
    body[16..20].copy_from_slice(&gives.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
    body[20..28].fill(0); // next server and relay
    body[44..236].fill(0); // server's name and boot file
    let mut put = |code: u8, value: &[u8]| {
        body.push(code);
        body.extend(u8::try_from(value.len()));
        body.extend(value);
    };
    put(option::MESSAGE_TYPE, &[message as u8]);
    put(option::SERVER, &network.gateway.octets());
    if message != Message::Nak {
        put(option::NETMASK, &network.netmask().octets());
        put(option::ROUTER, &network.gateway.octets());
        put(option::DNS, &network.dns.octets());
        put(option::MTU, &network.mtu.to_be_bytes());
    }
    if gives.is_some() {
        put(option::LEASE_SECONDS, &u32::MAX.to_be_bytes());
    }
    body.push(option::END);
    body.resize(body.len().max(MIN_LEN), option::PAD);

    let wants_broadcast = question.fixed[10] & 0x80 != 0;
    let destination = match gives {
        Some(address) if !wants_broadcast => address,
        None if question.message == Message::Inform && question.wanted == Some(network.guest) => network.guest,
        _ => Ipv4Addr::BROADCAST,
    };
    let datagram = Udp { source: SERVER_PORT, destination: CLIENT_PORT, payload: &body };
    let segment = datagram.build(network.gateway, destination)?;
    let packet = Ipv4 { source: network.gateway, destination, protocol: UDP, payload: &segment }.build()?;
    Some(Ethernet::build(client, OUR_MAC, TYPE_IPV4, &packet))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::example;
    use proptest::prelude::*;

    const GUEST: Mac = [0x52, 0x54, 0, 1, 2, 3];

    fn question(options: &[u8], flags: u8) -> Vec<u8> {
        let mut body = vec![0; FIXED_LEN];
        body[..8].copy_from_slice(&[1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef]);
        body[10] = flags;
        body[28..34].copy_from_slice(&GUEST);
        body[236..].copy_from_slice(&COOKIE);
        body.extend(options);
        let udp = Udp { source: CLIENT_PORT, destination: SERVER_PORT, payload: &body };
        let (from, to) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
        let segment = udp.build(from, to).unwrap();
        let packet = Ipv4 { source: from, destination: to, protocol: UDP, payload: &segment }.build().unwrap();
        Ethernet::build([0xff; 6], GUEST, TYPE_IPV4, &packet)
    }

    /// Codes and values.
    type Options = Vec<(u8, Vec<u8>)>;

    /// Where the answer goes, the address it gives, and its options.
    fn answered(options: &[u8], flags: u8) -> Option<(Ipv4Addr, Ipv4Addr, Options)> {
        let frame = answer(&question(options, flags), &example())?;
        let ethernet = Ethernet::parse(&frame).unwrap();
        assert_eq!((ethernet.destination, ethernet.source), (GUEST, OUR_MAC));
        let packet = Ipv4::parse(ethernet.payload).unwrap();
        assert_eq!(packet.source, example().gateway);
        let udp = Udp::parse(packet.payload).unwrap();
        assert_eq!((udp.source, udp.destination), (SERVER_PORT, CLIENT_PORT));
        assert!(udp.payload.len() >= MIN_LEN);
        let (fixed, mut rest) = udp.payload.split_first_chunk::<FIXED_LEN>().unwrap();
        assert_eq!((fixed[0], &fixed[4..8]), (2, &[0xde, 0xad, 0xbe, 0xef][..]));
        assert_eq!(fixed[28..34], GUEST);
        let mut options = Vec::new();
        while rest[0] != option::END {
            let end = 2 + usize::from(rest[1]);
            options.push((rest[0], rest[2..end].to_vec()));
            rest = &rest[end..];
        }
        Some((packet.destination, Ipv4Addr::new(fixed[16], fixed[17], fixed[18], fixed[19]), options))
    }

    fn facts(message: Message) -> Options {
        vec![
            (option::MESSAGE_TYPE, vec![message as u8]),
            (option::SERVER, vec![10, 0, 2, 2]),
            (option::NETMASK, vec![255, 255, 255, 0]),
            (option::ROUTER, vec![10, 0, 2, 2]),
            (option::DNS, vec![10, 0, 2, 3]),
            (option::MTU, 65520u16.to_be_bytes().to_vec()),
        ]
    }

    #[test]
    fn gives_the_one_address_with_the_facts_of_the_network() {
        let guest = example().guest;
        let lease = (option::LEASE_SECONDS, vec![0xff; 4]);
        let offer = [facts(Message::Offer), vec![lease.clone()]].concat();
        assert_eq!(answered(&[53, 1, 1, 255], 0), Some((guest, guest, offer.clone())));
        assert_eq!(answered(&[53, 1, 1, 255], 0x80), Some((Ipv4Addr::BROADCAST, guest, offer)));
        let ack = [facts(Message::Ack), vec![lease]].concat();
        assert_eq!(answered(&[53, 1, 3, 50, 4, 10, 0, 2, 15, 54, 4, 10, 0, 2, 2, 255], 0), Some((guest, guest, ack)));
        let (to, gives, options) = answered(&[53, 1, 8], 0).unwrap();
        assert_eq!((to, gives, options), (Ipv4Addr::BROADCAST, Ipv4Addr::UNSPECIFIED, facts(Message::Ack)));
    }

    #[test]
    fn refuses_another_address_and_leaves_other_servers_alone() {
        let nak = vec![(option::MESSAGE_TYPE, vec![6]), (option::SERVER, vec![10, 0, 2, 2])];
        let refused = Some((Ipv4Addr::BROADCAST, Ipv4Addr::UNSPECIFIED, nak));
        assert_eq!(answered(&[53, 1, 3, 50, 4, 192, 168, 1, 7], 0), refused);
        assert_eq!(answered(&[53, 1, 3], 0), refused);
        assert_eq!(answered(&[53, 1, 3, 50, 4, 10, 0, 2, 15, 54, 4, 10, 0, 2, 99], 0), None);
    }

    #[test]
    fn anything_else_is_not_answered() {
        // No message type, a release, an offer, an option that runs past the end.
        for options in [&[][..], &[53, 1, 7], &[53, 1, 2], &[53, 1], &[53, 0], &[12]] {
            assert_eq!(answered(options, 0), None, "{options:?}");
        }
    }

    proptest! {
        #[test]
        fn hostile_options_never_panic(options in proptest::collection::vec(any::<u8>(), 0..600), flags: u8) {
            let _ = answer(&question(&options, flags), &example());
        }

        #[test]
        fn hostile_bytes_never_panic(bytes: Vec<u8>) {
            let _ = answer(&bytes, &example());
        }
    }
}
