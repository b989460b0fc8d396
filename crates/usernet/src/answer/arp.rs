//! Who has an IPv4 address: this end has every one in the subnet but the guest's, so that a guest that tries another one
//! is told at once that nobody is there.

use super::is_unicast;
use crate::network::{Mac, Network, OUR_MAC};
use crate::packet::{Ethernet, TYPE_ARP};
use std::net::Ipv4Addr;

/// Ethernet and IPv4, addresses of six and four bytes.
const PREAMBLE: [u8; 6] = [0, 1, 8, 0, 6, 4];
const REQUEST: [u8; 2] = [0, 1];
const REPLY: [u8; 2] = [0, 2];
const BROADCAST: Mac = [0xff; 6];

pub(super) fn answer(frame: &[u8], network: &Network) -> Option<Vec<u8>> {
    let ethernet = Ethernet::parse(frame)?;
    let question = Question::parse(ethernet.payload)?;
    if !is_unicast(question.asker) || question.target == network.guest || !network.contains(question.target) {
        return None;
    }
    let target = question.target.octets();
    let body = [&PREAMBLE[..], &REPLY, &OUR_MAC, &target, &question.asker, &question.asker_address.octets()].concat();
    Some(Ethernet::build(question.asker, OUR_MAC, TYPE_ARP, &body))
}

/// A request for the gateway's Ethernet address, as the guest would send it.
pub(super) fn request(from: Mac, network: &Network) -> Vec<u8> {
    let guest = network.guest.octets();
    let body = [&PREAMBLE[..], &REQUEST, &from, &guest, &[0; 6], &network.gateway.octets()].concat();
    Ethernet::build(BROADCAST, from, TYPE_ARP, &body)
}

/// Whether a frame is a reply to somebody's request.
pub(crate) fn is_reply(frame: &[u8]) -> bool {
    let reply = [PREAMBLE.as_slice(), &REPLY].concat();
    Ethernet::parse(frame).is_some_and(|e| e.ethertype == TYPE_ARP && e.payload.starts_with(&reply))
}

struct Question {
    asker: Mac,
    asker_address: Ipv4Addr,
    target: Ipv4Addr,
}

impl Question {
    fn parse(body: &[u8]) -> Option<Self> {
        let (preamble, rest) = body.split_first_chunk::<6>()?;
        let (operation, rest) = rest.split_first_chunk::<2>()?;
        let (asker, rest) = rest.split_first_chunk::<6>()?;
        let (asker_address, rest) = rest.split_first_chunk::<4>()?;
        let target = rest.get(6..)?.first_chunk::<4>()?;
        (*preamble == PREAMBLE && *operation == REQUEST).then(|| Self {
            asker: *asker,
            asker_address: Ipv4Addr::from(*asker_address),
            target: Ipv4Addr::from(*target),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::example;
    use proptest::prelude::*;

    const GUEST: Mac = [0x52, 0x54, 0, 1, 2, 3];

    fn asked_for(target: &str) -> Vec<u8> {
        let network = Network { gateway: target.parse().unwrap(), ..example() };
        request(GUEST, &network)
    }

    #[test]
    fn every_address_of_the_subnet_but_the_guests_is_here() {
        let network = example();
        for here in ["10.0.2.2", "10.0.2.3", "10.0.2.200"] {
            let reply = answer(&asked_for(here), &network).unwrap();
            assert!(is_reply(&reply) && !is_reply(&asked_for(here)));
            let ethernet = Ethernet::parse(&reply).unwrap();
            assert_eq!((ethernet.destination, ethernet.source), (GUEST, OUR_MAC));
            assert_eq!(ethernet.payload[8..14], OUR_MAC);
            assert_eq!(
                Ipv4Addr::from(*ethernet.payload[14..].first_chunk::<4>().unwrap()),
                here.parse::<Ipv4Addr>().unwrap()
            );
            assert_eq!(ethernet.payload[18..24], GUEST);
            assert_eq!(ethernet.payload[24..28], [10, 0, 2, 15]);
        }
        for elsewhere in ["10.0.2.15", "10.0.3.1", "127.0.0.1"] {
            assert_eq!(answer(&asked_for(elsewhere), &network), None);
        }
    }

    #[test]
    fn replies_and_truncated_requests_are_not_answered() {
        let network = example();
        let request = asked_for("10.0.2.2");
        for length in 0..request.len() {
            assert_eq!(answer(&request[..length], &network), None);
        }
        let reply = answer(&request, &network).unwrap();
        assert_eq!(answer(&reply, &network), None);
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes: Vec<u8>) {
            let _ = answer(&bytes, &example());
            let _ = is_reply(&bytes);
        }
    }
}
