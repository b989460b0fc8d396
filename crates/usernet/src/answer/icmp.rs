//! The word that a destination is out of reach, so that the guest's program fails at once instead of by a timeout.

use super::is_unicast;
use crate::network::{Network, OUR_MAC};
use crate::packet::{Ethernet, ICMP, IPV4_LEN, Ipv4, TYPE_IPV4, checksum};

/// Destination unreachable: communication administratively prohibited (RFC 1812, section 5.2.7.1).
const PROHIBITED: [u8; 8] = [3, 13, 0, 0, 0, 0, 0, 0];
/// What of the refused packet is sent back beside its header: as much as tells its sender which connection it was.
const QUOTED: usize = 8;

/// An ICMP error from the gateway about a frame of the guest.
pub(crate) fn prohibited(frame: &[u8], network: &Network) -> Option<Vec<u8>> {
    let ethernet = Ethernet::parse(frame).filter(|ethernet| is_unicast(ethernet.source))?;
    Ipv4::parse(ethernet.payload).ok()?;
    let quoted = ethernet.payload.get(..IPV4_LEN + QUOTED)?;
    let mut message = [&PROHIBITED[..], quoted].concat();
    let sum = checksum(&[&message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let packet = Ipv4 { source: network.gateway, destination: network.guest, protocol: ICMP, payload: &message };
    Some(Ethernet::build(ethernet.source, OUR_MAC, TYPE_IPV4, &packet.build()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::example;
    use crate::packet::{UDP, Udp};

    #[test]
    fn quotes_the_head_of_the_refused_packet() {
        let network = example();
        let to = "127.0.0.1".parse().unwrap();
        let segment = Udp { source: 1234, destination: 80, payload: &[7; 100] }.build(network.guest, to).unwrap();
        let packet = Ipv4 { source: network.guest, destination: to, protocol: UDP, payload: &segment }.build().unwrap();
        let frame = Ethernet::build(OUR_MAC, [2; 6], TYPE_IPV4, &packet);
        let error = prohibited(&frame, &network).unwrap();
        let ethernet = Ethernet::parse(&error).unwrap();
        assert_eq!((ethernet.destination, ethernet.source), ([2; 6], OUR_MAC));
        let answer = Ipv4::parse(ethernet.payload).unwrap();
        assert_eq!((answer.source, answer.destination, answer.protocol), (network.gateway, network.guest, ICMP));
        assert_eq!(answer.payload[..2], [3, 13]);
        assert_eq!(checksum(&[answer.payload]), 0);
        assert_eq!(answer.payload[8..], packet[..28]);
        assert_eq!(prohibited(&frame[..40], &network), None);
    }
}
