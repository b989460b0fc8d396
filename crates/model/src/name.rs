//! The names people give to VMs.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A VM's name: a DNS label (RFC 1123) of at most 63 letters, because `NAME.vm` is a host name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(value_type = String))]
pub struct VmName(String);

/// A text that cannot name a VM.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} cannot name a VM: {reason}")]
pub struct VmNameError {
    name: String,
    reason: &'static str,
}

const MAX_LEN: usize = 63;

#[rustfmt::skip]
const ADJECTIVES: [&str; 64] = [
    "able", "agile", "amber", "apt", "azure", "bold", "brave", "brisk", "calm", "chief", "civil", "clean", "clear", "cool", "coral", "crisp",
    "deft", "eager", "early", "even", "fair", "fast", "fine", "firm", "fleet", "fond", "frank", "fresh", "glad", "gold", "grand", "green",
    "hale", "handy", "happy", "jolly", "keen", "kind", "light", "lively", "loyal", "lucid", "lunar", "mellow", "merry", "mild", "neat", "nimble",
    "noble", "plain", "prime", "proud", "quick", "quiet", "rapid", "ready", "royal", "sharp", "solar", "spry", "sunny", "swift", "vivid", "warm",
];
#[rustfmt::skip]
const NOUNS: [&str; 64] = [
    "acorn", "alder", "anchor", "aspen", "badger", "bay", "beacon", "birch", "bison", "brook", "canyon", "cedar", "cliff", "cloud", "comet", "coral",
    "crane", "creek", "delta", "dune", "eagle", "elm", "falcon", "fern", "finch", "fjord", "fox", "garnet", "glade", "harbor", "hawk", "heron",
    "hill", "ibex", "iris", "island", "ivy", "jade", "lake", "lark", "linden", "lynx", "maple", "marsh", "meadow", "mesa", "moon", "oak",
    "orchid", "otter", "owl", "peak", "pine", "quartz", "raven", "reef", "ridge", "river", "robin", "spruce", "stone", "stork", "tide", "wren",
];

impl VmName {
    /// Two readable words chosen by `entropy`, like `brisk-heron`: 4096 names, so callers re-roll on a clash.
    pub fn generate(entropy: u64) -> Self {
        let [a, n, ..] = entropy.to_le_bytes();
        Self(format!("{}-{}", ADJECTIVES[usize::from(a) % ADJECTIVES.len()], NOUNS[usize::from(n) % NOUNS.len()]))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VmName {
    type Err = VmNameError;
    fn from_str(name: &str) -> Result<Self, VmNameError> {
        let refuse = |reason| Err(VmNameError { name: name.chars().take(80).collect(), reason });
        match name.as_bytes() {
            [] => refuse("it is empty"),
            long if long.len() > MAX_LEN => refuse("it is longer than 63 letters"),
            bytes if !bytes.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-')) => {
                refuse("use lower-case letters, digits and hyphens only")
            }
            [b'-', ..] | [.., b'-'] => refuse("it begins or ends with a hyphen"),
            _ => Ok(Self(name.into())),
        }
    }
}

impl fmt::Display for VmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for VmName {
    type Error = VmNameError;
    fn try_from(name: String) -> Result<Self, VmNameError> {
        name.parse()
    }
}

impl From<VmName> for String {
    fn from(name: VmName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_what_is_no_dns_label() {
        for bad in ["", "../x", "A", "-a", "a-", "a b", "a/b", "ü", "a.b", &"a".repeat(64)] {
            assert!(bad.parse::<VmName>().is_err(), "{bad}");
        }
        assert!("a".repeat(63).parse::<VmName>().is_ok());
    }

    proptest! {
        #[test]
        fn generated_names_are_valid(entropy: u64) {
            let name = VmName::generate(entropy);
            prop_assert_eq!(name.as_str().parse::<VmName>(), Ok(name.clone()));
        }
    }
}
