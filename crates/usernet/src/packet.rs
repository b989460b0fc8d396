//! Ethernet, IPv4, UDP, TCP and ICMP headers, read and written.
//!
//! Owns: where each field lies, lengths that must agree with each other, checksums. It judges form only; who may talk to
//! whom is [`crate::filter`]'s. Pure: every read is bounds-checked and no input makes it panic.

use crate::network::Mac;
use std::net::Ipv4Addr;

/// Bytes of an Ethernet header.
pub(crate) const ETHERNET_LEN: usize = 14;
/// Bytes of an IPv4 header without options.
pub(crate) const IPV4_LEN: usize = 20;
/// Bytes of a UDP header.
pub(crate) const UDP_LEN: usize = 8;

/// Ethernet's number for IPv4.
pub(crate) const TYPE_IPV4: u16 = 0x0800;
/// Ethernet's number for ARP.
pub(crate) const TYPE_ARP: u16 = 0x0806;

/// IPv4's number for ICMP.
pub(crate) const ICMP: u8 = 1;
/// IPv4's number for TCP.
pub(crate) const TCP: u8 = 6;
/// IPv4's number for UDP.
pub(crate) const UDP: u8 = 17;

/// A frame's header and what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ethernet<'a> {
    pub(crate) destination: Mac,
    pub(crate) source: Mac,
    pub(crate) ethertype: u16,
    pub(crate) payload: &'a [u8],
}

/// An IPv4 packet without options that is no fragment and fills its frame exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ipv4<'a> {
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) protocol: u8,
    pub(crate) payload: &'a [u8],
}

/// Why bytes are not an [`Ipv4`] packet of the one form that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// Truncated, padded, another version, or lengths that contradict each other.
    Malformed,
    /// It has IP options.
    Options,
    /// It is a fragment.
    Fragment,
}

/// A UDP datagram whose length agrees with its packet's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Udp<'a> {
    pub(crate) source: u16,
    pub(crate) destination: u16,
    pub(crate) payload: &'a [u8],
}

impl<'a> Ethernet<'a> {
    /// Reads a frame; none if it is shorter than its header.
    pub(crate) fn parse(frame: &'a [u8]) -> Option<Self> {
        let (header, payload) = frame.split_first_chunk::<ETHERNET_LEN>()?;
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = *header;
        Some(Self {
            destination: [d0, d1, d2, d3, d4, d5],
            source: [s0, s1, s2, s3, s4, s5],
            ethertype: u16::from_be_bytes([t0, t1]),
            payload,
        })
    }

    /// The frame's bytes.
    pub(crate) fn build(destination: Mac, source: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
        [&destination[..], &source, &ethertype.to_be_bytes(), payload].concat()
    }
}

impl<'a> Ipv4<'a> {
    /// Reads a packet. The header's checksum is not looked at, as it decides nothing.
    pub(crate) fn parse(packet: &'a [u8]) -> Result<Self, Unfit> {
        let (header, payload) = packet.split_first_chunk::<IPV4_LEN>().ok_or(Unfit::Malformed)?;
        let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let flags_and_offset = u16::from_be_bytes([header[6], header[7]]);
        match header[0] {
            0x45 => {}
            0x46..=0x4f => return Err(Unfit::Options),
            _ => return Err(Unfit::Malformed),
        }
        if total != packet.len() {
            return Err(Unfit::Malformed);
        }
        // All but "don't fragment": more fragments, an offset, or the reserved bit.
        if flags_and_offset & !0x4000 != 0 {
            return Err(Unfit::Fragment);
        }
        Ok(Self {
            source: Ipv4Addr::new(header[12], header[13], header[14], header[15]),
            destination: Ipv4Addr::new(header[16], header[17], header[18], header[19]),
            protocol: header[9],
            payload,
        })
    }

    /// The packet's bytes; none if it would be longer than a packet can be.
    pub(crate) fn build(&self) -> Option<Vec<u8>> {
        let total = u16::try_from(IPV4_LEN + self.payload.len()).ok()?.to_be_bytes();
        let mut packet = vec![0x45, 0, total[0], total[1], 0, 0, 0x40, 0, 64, self.protocol, 0, 0];
        packet.extend(self.source.octets());
        packet.extend(self.destination.octets());
        let sum = checksum(&[&packet]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(self.payload);
        Some(packet)
    }
}

impl<'a> Udp<'a> {
    /// Reads the payload of an IPv4 packet; none if it is cut off or padded.
    pub(crate) fn parse(segment: &'a [u8]) -> Option<Self> {
        let (header, payload) = segment.split_first_chunk::<UDP_LEN>()?;
        let [s0, s1, d0, d1, l0, l1, _, _] = *header;
        (usize::from(u16::from_be_bytes([l0, l1])) == segment.len()).then_some(Self {
            source: u16::from_be_bytes([s0, s1]),
            destination: u16::from_be_bytes([d0, d1]),
            payload,
        })
    }

    /// The datagram's bytes between two addresses; none if it would be longer than a datagram can be.
    pub(crate) fn build(&self, source: Ipv4Addr, destination: Ipv4Addr) -> Option<Vec<u8>> {
        let length = u16::try_from(UDP_LEN + self.payload.len()).ok()?.to_be_bytes();
        let mut segment = [self.source.to_be_bytes(), self.destination.to_be_bytes(), length, [0, 0]].concat();
        segment.extend(self.payload);
        let pseudo = [&source.octets()[..], &destination.octets(), &[0, UDP], &length].concat();
        let sum = match checksum(&[&pseudo, &segment]) {
            0 => 0xffff, // zero on the wire means "no checksum"
            sum => sum,
        };
        segment[6..8].copy_from_slice(&sum.to_be_bytes());
        Some(segment)
    }
}

/// Whether a TCP segment has the whole header that it announces.
pub(crate) fn is_whole_tcp(segment: &[u8]) -> bool {
    let announced = segment.first_chunk::<20>().map(|header| usize::from(header[12] >> 4) * 4);
    announced.is_some_and(|length| (20..=segment.len()).contains(&length))
}

/// Gives a TCP reset in a frame the acknowledgement flag that it lacks though it acknowledges something, and corrects its
/// checksum (RFC 1624). Any other frame stays as it is.
///
/// `passt` before 2024 refuses connections like that, and whoever waits for the answer to a SYN must not believe a reset
/// that does not say that it acknowledges it (RFC 9293, section 3.10.7.3).
pub(crate) fn mend_reset(frame: &mut [u8]) {
    const RST: u8 = 0x04;
    const ACK: u8 = 0x10;
    let is_plain_tcp = Ethernet::parse(frame)
        .filter(|ethernet| ethernet.ethertype == TYPE_IPV4)
        .and_then(|ethernet| Ipv4::parse(ethernet.payload).ok())
        .is_some_and(|packet| packet.protocol == TCP);
    let segment = frame.get_mut(ETHERNET_LEN + IPV4_LEN..).and_then(|segment| segment.first_chunk_mut::<20>());
    let Some(segment) = segment.filter(|_| is_plain_tcp) else { return };
    if segment[13] & (RST | ACK) == RST && segment[8..12] != [0; 4] {
        segment[13] |= ACK;
        let sum = !u16::from_be_bytes([segment[16], segment[17]]);
        let (sum, carry) = sum.overflowing_add(u16::from(ACK));
        let sum = !(sum + u16::from(carry));
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Type and code of an ICMP message; none if it is shorter than its header.
pub(crate) fn icmp_kind(message: &[u8]) -> Option<(u8, u8)> {
    message.first_chunk::<8>().map(|header| (header[0], header[1]))
}

/// The Internet checksum (RFC 1071) of the parts in a row. Every part but the last must be of even length.
pub(crate) fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u64 = 0;
    for part in parts {
        let (pairs, rest) = part.as_chunks::<2>();
        sum += pairs.iter().map(|pair| u64::from(u16::from_be_bytes(*pair))).sum::<u64>();
        sum += rest.iter().map(|last| u64::from(*last) << 8).sum::<u64>();
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    #[test]
    fn checksums_are_those_of_the_standard() {
        // The example of RFC 1071, section 3.
        assert_eq!(checksum(&[&[0x00, 0x01, 0xf2, 0x03], &[0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
        assert_eq!(checksum(&[&[0x12]]), !0x1200);
    }

    #[test]
    fn what_is_built_is_read_back_and_sums_to_zero() {
        let udp = Udp { source: 67, destination: 68, payload: b"odd" };
        let (from, to) = (ip("10.0.2.2"), ip("10.0.2.15"));
        let segment = udp.build(from, to).unwrap();
        let packet = Ipv4 { source: from, destination: to, protocol: UDP, payload: &segment }.build().unwrap();
        assert_eq!(checksum(&[&packet[..IPV4_LEN]]), 0);
        let pseudo = [&from.octets()[..], &to.octets(), &[0, UDP, 0, 11]].concat();
        assert_eq!(checksum(&[&pseudo, &segment]), 0);
        let frame = Ethernet::build([1; 6], [2; 6], TYPE_IPV4, &packet);
        let ethernet = Ethernet::parse(&frame).unwrap();
        assert_eq!((ethernet.destination, ethernet.source, ethernet.ethertype), ([1; 6], [2; 6], TYPE_IPV4));
        let ipv4 = Ipv4::parse(ethernet.payload).unwrap();
        assert_eq!((ipv4.source, ipv4.destination, ipv4.protocol), (from, to, UDP));
        assert_eq!(Udp::parse(ipv4.payload), Some(udp));
    }

    #[test]
    fn a_packet_must_fill_its_frame_and_have_neither_options_nor_fragments() {
        let payload = [0; 8];
        let good = Ipv4 { source: ip("1.2.3.4"), destination: ip("5.6.7.8"), protocol: UDP, payload: &payload };
        let good = good.build().unwrap();
        assert!(Ipv4::parse(&good).is_ok());
        let with = |at: usize, byte: u8| {
            let mut packet = good.clone();
            packet[at] = byte;
            Ipv4::parse(&packet).map(|_| ())
        };
        assert_eq!(with(0, 0x65), Err(Unfit::Malformed));
        assert_eq!(with(0, 0x44), Err(Unfit::Malformed));
        assert_eq!(with(0, 0x46), Err(Unfit::Options));
        assert_eq!(with(3, 27), Err(Unfit::Malformed));
        assert_eq!(with(3, 29), Err(Unfit::Malformed));
        assert_eq!(with(6, 0x20), Err(Unfit::Fragment), "more fragments");
        assert_eq!(with(6, 0x80), Err(Unfit::Fragment), "reserved bit");
        assert_eq!(with(7, 1), Err(Unfit::Fragment), "offset");
        assert_eq!(with(6, 0x00), Ok(()), "fragmenting allowed, but not done");
        for length in 0..IPV4_LEN {
            assert_eq!(Ipv4::parse(&good[..length]), Err(Unfit::Malformed));
        }
    }

    fn tcp(flags: u8, acknowledged: u32) -> Vec<u8> {
        let (from, to) = (ip("198.51.100.2"), ip("10.0.2.15"));
        let mut segment = [0x1b, 0x59, 0x9c, 0x44, 0xff, 0xff, 0xff, 0xfe].to_vec();
        segment.extend(acknowledged.to_be_bytes());
        segment.extend([0x50, flags, 0, 0, 0, 0, 0, 0]);
        let pseudo = [&from.octets()[..], &to.octets(), &[0, TCP, 0, 20]].concat();
        let sum = checksum(&[&pseudo, &segment]);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        let packet = Ipv4 { source: from, destination: to, protocol: TCP, payload: &segment }.build().unwrap();
        Ethernet::build([2; 6], [4; 6], TYPE_IPV4, &packet)
    }

    #[test]
    fn only_a_reset_that_acknowledges_without_saying_so_is_mended() {
        for acknowledged in [1, 0x0001_0000, 0x1234_5678, u32::MAX] {
            let mut frame = tcp(0x04, acknowledged);
            mend_reset(&mut frame);
            assert_eq!(frame, tcp(0x14, acknowledged));
        }
        for same in [tcp(0x04, 0), tcp(0x14, 7), tcp(0x10, 7), tcp(0x02, 7), vec![], vec![0; 60]] {
            let mut frame = same.clone();
            mend_reset(&mut frame);
            assert_eq!(frame, same);
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Ethernet::parse(&bytes);
            let _ = Ipv4::parse(&bytes);
            let _ = Udp::parse(&bytes);
            let _ = is_whole_tcp(&bytes);
            let _ = icmp_kind(&bytes);
            let _ = checksum(&[&bytes]);
            mend_reset(&mut bytes.clone());
        }
    }
}
