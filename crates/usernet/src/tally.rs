//! What has passed and what has not.
//!
//! Owns: counters, and how often a refusal is logged: once for each reason, so that no guest fills the host's disk.

use crate::filter::Reason;
use crate::packet::{Ethernet, Ipv4};
use std::collections::BTreeMap;

/// Where a frame came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum From {
    /// The guest, by way of QEMU.
    Guest,
    /// `passt`.
    Net,
}

/// Counters since the start.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    passed: BTreeMap<From, (u64, u64)>,
    denied: BTreeMap<(From, Reason), u64>,
}

impl From {
    fn as_str(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Net => "net",
        }
    }
}

impl Tally {
    /// A frame of that many bytes has passed.
    pub(crate) fn pass(&mut self, from: From, bytes: usize) {
        let (frames, total) = self.passed.entry(from).or_default();
        *frames += 1;
        *total += bytes as u64;
    }

    /// A frame has not passed.
    pub(crate) fn deny(&mut self, from: From, reason: Reason, frame: &[u8]) {
        let count = self.denied.entry((from, reason)).or_default();
        *count += 1;
        if *count == 1 {
            let packet = Ethernet::parse(frame).and_then(|ethernet| Ipv4::parse(ethernet.payload).ok());
            let packet = packet
                .map(|packet| format!("{} to {}, protocol {}", packet.source, packet.destination, packet.protocol));
            let (from, reason) = (from.as_str(), reason.as_str());
            tracing::warn!(from, reason, packet, "first frame denied for this reason; later ones are only counted");
        }
    }

    /// Logs it all.
    pub(crate) fn report(&self) {
        for (from, (frames, bytes)) in &self.passed {
            tracing::info!(from = from.as_str(), frames, bytes, "passed");
        }
        for ((from, reason), frames) in &self.denied {
            tracing::info!(from = from.as_str(), reason = reason.as_str(), frames, "denied");
        }
    }
}
