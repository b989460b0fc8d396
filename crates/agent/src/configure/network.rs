//! The one network interface.
//!
//! Owns: which one it is, and what it is told in which order. No DHCP: the host knows the addresses.

use super::netlink::{Message, Socket};
use banger_model::wire::guest::GuestNetwork;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

const INTERFACES: &str = "/sys/class/net";
/// The kernel's number for Ethernet in an interface's `type`.
const ETHERNET: &str = "1";

/// Brings up the loopback interface and, if there is a network, the machine's own. Returns what could not be done.
pub(super) fn configure(network: Option<&GuestNetwork>) -> Option<String> {
    let socket = match Socket::open() {
        Ok(socket) => socket,
        Err(error) => return Some(format!("the network cannot be configured: {error}")),
    };
    if let Some(index) = index("lo")
        && let Err(error) = socket.order(&Message::link_up(index, None))
    {
        return Some(format!("the loopback interface could not be brought up: {error}"));
    }
    let network = network?;
    let Some((name, index)) = ethernet() else {
        return Some("the machine has no network interface".to_owned());
    };
    for (what, message) in steps(index, network) {
        if let Err(error) = socket.order(&message) {
            return Some(format!("the interface {name} could not be given its {what}: {error}"));
        }
    }
    None
}

/// The orders that configure interface `index`.
fn steps(index: u32, network: &GuestNetwork) -> Vec<(&'static str, Message)> {
    let GuestNetwork { address, prefix, gateway, mtu, .. } = *network;
    let prefix = prefix.min(32);
    let mut steps = vec![("address", Message::address(index, address, prefix)), ("link", Message::link_up(index, mtu))];
    if !is_within(gateway, address, prefix) {
        steps.push(("route to the gateway", Message::host_route(index, gateway)));
    }
    steps.push(("default route", Message::default_route(index, gateway)));
    steps
}

fn is_within(host: Ipv4Addr, network: Ipv4Addr, prefix: u8) -> bool {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
    host.to_bits() & mask == network.to_bits() & mask
}

/// The first Ethernet interface, by index.
fn ethernet() -> Option<(String, u32)> {
    let names = fs::read_dir(INTERFACES).ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let is_ethernet = |name: &String| read(name, "type").as_deref() == Some(ETHERNET);
    let found = names.filter(is_ethernet).filter_map(|name| index(&name).map(|index| (name, index)));
    found.min_by_key(|(_, index)| *index)
}

fn index(name: &str) -> Option<u32> {
    read(name, "ifindex")?.parse().ok()
}

fn read(interface: &str, attribute: &str) -> Option<String> {
    let text = fs::read_to_string(Path::new(INTERFACES).join(interface).join(attribute)).ok()?;
    Some(text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(gateway: [u8; 4], prefix: u8) -> GuestNetwork {
        let address = [10, 0, 2, 15].into();
        GuestNetwork { address, prefix, gateway: gateway.into(), dns: Vec::new(), search: Vec::new(), mtu: None }
    }

    #[test]
    fn a_gateway_outside_the_network_gets_a_route_of_its_own() {
        let names = |gateway, prefix| steps(2, &network(gateway, prefix)).into_iter().map(|s| s.0).collect::<Vec<_>>();
        assert_eq!(names([10, 0, 2, 2], 24), ["address", "link", "default route"]);
        assert_eq!(names([10, 0, 3, 2], 24), ["address", "link", "route to the gateway", "default route"]);
        assert_eq!(names([10, 0, 2, 2], 32), ["address", "link", "route to the gateway", "default route"]);
        assert_eq!(names([9, 9, 9, 9], 0), ["address", "link", "default route"]);
    }
}
