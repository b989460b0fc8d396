//! The facts of the virtual network that one guest sees.
//!
//! Owns: its addresses, their validation, the MAC address of the other end. They come from the command line, so that the
//! daemon, which also tells them to the agent in the guest, has the one copy. Must not touch: the host's own network.

use std::net::Ipv4Addr;

/// An Ethernet address.
pub(crate) type Mac = [u8; 6];

/// What the guest sees at the other end of its cable, whichever address it asks for. Locally administered.
pub(crate) const OUR_MAC: Mac = [0x52, 0x55, 0x0a, 0x00, 0x02, 0x02];

/// The largest MTU that `passt` offers: the largest IPv4 packet, rounded down to a multiple of four, less an Ethernet header.
pub(crate) const MAX_MTU: u16 = 65520;
/// The smallest MTU that every IPv4 host must take whole (RFC 791).
const MIN_MTU: u16 = 576;

/// The virtual network. Every address lies in the guest's subnet and no two are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    /// The guest's address.
    pub(crate) guest: Ipv4Addr,
    /// Bits of the subnet's prefix, 8 to 30.
    pub(crate) prefix: u8,
    /// The guest's default route: this end.
    pub(crate) gateway: Ipv4Addr,
    /// The guest's name server: port 53 here is the host's own resolver.
    pub(crate) dns: Ipv4Addr,
    /// The largest IPv4 packet on the cable, in bytes.
    pub(crate) mtu: u16,
}

/// Facts that make no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NetworkError {
    #[error("a prefix of {0} bits is not between 8 and 30")]
    Prefix(u8),
    #[error("an MTU of {0} bytes is not between {MIN_MTU} and {MAX_MTU}")]
    Mtu(u16),
    #[error("{address} is not a host's address in {guest}/{prefix}")]
    Outside { address: Ipv4Addr, guest: Ipv4Addr, prefix: u8 },
    #[error("guest, gateway and name server need three addresses; {0} is given twice")]
    Twice(Ipv4Addr),
}

impl Network {
    /// Admits facts that fit each other.
    pub(crate) fn new(
        guest: Ipv4Addr,
        prefix: u8,
        gateway: Ipv4Addr,
        dns: Ipv4Addr,
        mtu: u16,
    ) -> Result<Self, NetworkError> {
        if !(8..=30).contains(&prefix) {
            return Err(NetworkError::Prefix(prefix));
        }
        if !(MIN_MTU..=MAX_MTU).contains(&mtu) {
            return Err(NetworkError::Mtu(mtu));
        }
        let network = Self { guest, prefix, gateway, dns, mtu };
        for address in [guest, gateway, dns] {
            let host_bits = u32::from(address) & !u32::from(network.netmask());
            let is_a_host = host_bits != 0 && host_bits != !u32::from(network.netmask());
            if !is_a_host || !network.contains(address) {
                return Err(NetworkError::Outside { address, guest, prefix });
            }
        }
        match [guest, gateway, dns] {
            [a, b, c] if a == b || a == c => Err(NetworkError::Twice(a)),
            [_, b, c] if b == c => Err(NetworkError::Twice(b)),
            _ => Ok(network),
        }
    }

    /// The subnet's mask.
    pub(crate) fn netmask(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::MAX << (32 - u32::from(self.prefix)))
    }

    /// Whether the address lies in the virtual subnet.
    pub(crate) fn contains(&self, address: Ipv4Addr) -> bool {
        (u32::from(address) ^ u32::from(self.guest)) & u32::from(self.netmask()) == 0
    }
}

#[cfg(test)]
pub(crate) fn example() -> Network {
    Network {
        guest: Ipv4Addr::new(10, 0, 2, 15),
        prefix: 24,
        gateway: Ipv4Addr::new(10, 0, 2, 2),
        dns: Ipv4Addr::new(10, 0, 2, 3),
        mtu: MAX_MTU,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    #[test]
    fn admits_only_facts_that_fit_each_other() {
        let new = |guest, prefix, gateway, dns, mtu| Network::new(ip(guest), prefix, ip(gateway), ip(dns), mtu);
        let good = new("10.0.2.15", 24, "10.0.2.2", "10.0.2.3", 65520).unwrap();
        assert_eq!(good, example());
        assert_eq!(good.netmask(), ip("255.255.255.0"));
        assert!(good.contains(ip("10.0.2.255")) && !good.contains(ip("10.0.3.0")));

        let outside =
            |address: &str, prefix| NetworkError::Outside { address: ip(address), guest: ip("10.0.2.15"), prefix };
        for (result, error) in [
            (new("10.0.2.15", 31, "10.0.2.2", "10.0.2.3", 1500), NetworkError::Prefix(31)),
            (new("10.0.2.15", 7, "10.0.2.2", "10.0.2.3", 1500), NetworkError::Prefix(7)),
            (new("10.0.2.15", 24, "10.0.2.2", "10.0.2.3", 65521), NetworkError::Mtu(65521)),
            (new("10.0.2.15", 24, "10.0.2.2", "10.0.2.3", 500), NetworkError::Mtu(500)),
            (new("10.0.2.15", 24, "10.0.3.2", "10.0.2.3", 1500), outside("10.0.3.2", 24)),
            (new("10.0.2.15", 24, "10.0.2.255", "10.0.2.3", 1500), outside("10.0.2.255", 24)),
            (new("10.0.2.15", 24, "10.0.2.2", "10.0.2.0", 1500), outside("10.0.2.0", 24)),
            (new("10.0.2.15", 24, "10.0.2.2", "10.0.2.2", 1500), NetworkError::Twice(ip("10.0.2.2"))),
            (new("10.0.2.15", 24, "10.0.2.2", "10.0.2.15", 1500), NetworkError::Twice(ip("10.0.2.15"))),
        ] {
            assert_eq!(result, Err(error));
        }
    }
}
