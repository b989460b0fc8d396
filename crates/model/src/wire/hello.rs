//! How a session between daemon and agent begins on a stream that may hold the rest of an earlier one.
//!
//! The host sends [`GREETING_LEN`] bytes: a magic, the protocol version and a fresh nonce. The agent answers a greeting
//! with the same bytes under its own magic and version, drops every channel of the session before, and both speak frames
//! from then on. The host greets once a connection and discards everything until it sees the answer to its own nonce, so
//! leftovers in a buffer on the way (a virtio-serial port has several) cannot be taken for frames. The agent knows a
//! greeting also where a frame should begin: read as a frame's length, a magic is far beyond what is allowed.

/// The protocol's version. A change that an old peer would misread raises it.
pub const VERSION: u16 = 1;
/// Bytes of a greeting and of its answer.
pub const GREETING_LEN: usize = 26;

const HOST_MAGIC: [u8; 8] = *b"\x00bngr>g\x01";
const GUEST_MAGIC: [u8; 8] = *b"\x00bngr<g\x01";

/// One end's opening words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Greeting {
    /// The version that its sender speaks.
    pub version: u16,
    /// Chosen by the host, repeated by the guest.
    pub nonce: [u8; 16],
}

impl Greeting {
    /// The host's words.
    pub fn to_guest(self) -> [u8; GREETING_LEN] {
        self.bytes(HOST_MAGIC)
    }

    /// The guest's answer.
    pub fn to_host(self) -> [u8; GREETING_LEN] {
        self.bytes(GUEST_MAGIC)
    }

    fn bytes(self, magic: [u8; 8]) -> [u8; GREETING_LEN] {
        let mut bytes = [0; GREETING_LEN];
        bytes[..8].copy_from_slice(&magic);
        bytes[8..10].copy_from_slice(&self.version.to_le_bytes());
        bytes[10..].copy_from_slice(&self.nonce);
        bytes
    }
}

/// Finds a greeting in a stream of anything.
#[derive(Debug)]
pub struct Hunt {
    magic: [u8; 8],
    window: Vec<u8>,
}

impl Hunt {
    /// For the agent: looks for the host's words.
    pub fn for_host() -> Self {
        Self { magic: HOST_MAGIC, window: Vec::new() }
    }

    /// For the daemon: looks for the guest's answer.
    pub fn for_guest() -> Self {
        Self { magic: GUEST_MAGIC, window: Vec::new() }
    }

    /// Takes in bytes. When a greeting is complete, returns it with the bytes after it.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<(Greeting, Vec<u8>)> {
        self.window.extend_from_slice(bytes);
        let found = self.window.windows(GREETING_LEN).position(|w| w.starts_with(&self.magic));
        match found {
            Some(at) => {
                let rest = self.window.split_off(at + GREETING_LEN);
                let greeting = &self.window[at..];
                let mut nonce = [0; 16];
                nonce.copy_from_slice(&greeting[10..]);
                let version = u16::from_le_bytes([greeting[8], greeting[9]]);
                self.window.clear();
                Some((Greeting { version, nonce }, rest))
            }
            None => {
                let keep = self.window.len().min(GREETING_LEN - 1);
                self.window.drain(..self.window.len() - keep);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever comes, no more is kept than may begin a greeting; and one that was changed anywhere is not the one that
        /// was sent.
        #[test]
        fn noise_is_not_hoarded_and_a_changed_greeting_is_another(
            noise in prop::collection::vec(prop::sample::select(b"\0bngr><g\x01x".to_vec()), 0..600), piece in 1_usize..70,
            at in 0..GREETING_LEN, change in 1_u8.., nonce: [u8; 16],
        ) {
            for mut hunt in [Hunt::for_host(), Hunt::for_guest()] {
                for chunk in noise.chunks(piece) {
                    let _any = hunt.feed(chunk);
                    prop_assert!(hunt.window.len() < GREETING_LEN);
                }
            }
            let sent = Greeting { version: VERSION, nonce };
            let mut bytes = sent.to_guest();
            bytes[at] ^= change;
            prop_assert!(Hunt::for_host().feed(&bytes).is_none_or(|(greeting, _)| greeting != sent));
            prop_assert_eq!(Hunt::for_guest().feed(&sent.to_guest()), None, "the host's own words are no answer");
        }

        #[test]
        fn found_behind_any_noise_in_any_pieces(noise: Vec<u8>, rest in proptest::collection::vec(any::<u8>(), 0..8), piece in 1usize..40, nonce: [u8; 16]) {
            let sent = Greeting { version: VERSION, nonce };
            let mut bytes = noise;
            bytes.extend(sent.to_guest());
            bytes.extend(&rest);
            let mut hunt = Hunt::for_host();
            let mut chunks = bytes.chunks(piece);
            let (got, mut after) = chunks.by_ref().find_map(|chunk| hunt.feed(chunk)).expect("it is there");
            after.extend(chunks.flatten());
            prop_assert_eq!(got, sent);
            prop_assert_eq!(after, rest);
        }
    }
}
