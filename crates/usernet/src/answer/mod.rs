//! What this end of the cable says to the guest by itself.
//!
//! Owns: replies to ARP and DHCP, and the word that something is out of reach. They are not left to `passt`, so that the
//! guest gets the facts that it was started with whichever version is installed, and so that no parser of it that a guest
//! needs not reach is reached. Pure: a frame from the guest gives a frame to the guest, or none.

mod arp;
mod dhcp;
mod icmp;

pub(crate) use arp::is_reply;
pub(crate) use icmp::prohibited;

use crate::filter::Service;
use crate::network::{Mac, Network};

/// The answer to a frame that the filter found to be for this service, if it deserves one.
pub(crate) fn answer(service: Service, frame: &[u8], network: &Network) -> Option<Vec<u8>> {
    match service {
        Service::Arp => arp::answer(frame, network),
        Service::Dhcp => dhcp::answer(frame, network),
    }
}

/// A guest's question about the gateway's Ethernet address.
pub(crate) fn arp_request(from: Mac, network: &Network) -> Vec<u8> {
    arp::request(from, network)
}

fn is_unicast(address: Mac) -> bool {
    address[0] & 1 == 0
}
