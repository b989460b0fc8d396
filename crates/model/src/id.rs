//! Identities that are minted once and never reused.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Crockford's base32: no letter that reads like a digit, one case, and safe in every kind of host object name.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 12 letters hold 60 bits, and with a three-letter prefix still fit the 15 bytes of a network interface's name.
const VM_ID_LEN: usize = 12;
const OP_ID_LEN: usize = 16;
const OP_ID_PREFIX: &str = "op-";

/// A VM's identity: 60 random bits as 12 letters of Crockford's base32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(value_type = String))]
pub struct VmId([u8; VM_ID_LEN]);

/// An operation's identity, carried by every log record and error of the processes that took part: `op-` and 80 random
/// bits as 16 letters of Crockford's base32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(value_type = String))]
pub struct OpId([u8; OP_ID_LEN]);

/// A text that is not an id of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {kind}")]
pub struct IdError {
    text: String,
    kind: &'static str,
}

fn letters<const N: usize>(entropy: [u8; 16]) -> [u8; N] {
    let mut bits = u128::from_le_bytes(entropy);
    std::array::from_fn(|_| {
        let letter = ALPHABET[(bits & 31) as usize];
        bits >>= 5;
        letter
    })
}

fn parse<const N: usize>(text: &str) -> Option<[u8; N]> {
    let bytes: [u8; N] = text.as_bytes().try_into().ok()?;
    bytes.iter().all(|b| ALPHABET.contains(b)).then_some(bytes)
}

fn text(letters: &[u8]) -> &str {
    // Every constructor admits letters of ALPHABET only.
    std::str::from_utf8(letters).unwrap_or_default()
}

impl VmId {
    /// Makes an id from random bytes, of which it uses 60 bits.
    pub fn from_entropy(entropy: [u8; 16]) -> Self {
        Self(letters(entropy))
    }

    /// The 12 letters.
    pub fn as_str(&self) -> &str {
        text(&self.0)
    }
}

impl OpId {
    /// Makes an id from random bytes, of which it uses 80 bits.
    pub fn from_entropy(entropy: [u8; 16]) -> Self {
        Self(letters(entropy))
    }
}

impl fmt::Display for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{OP_ID_PREFIX}{}", text(&self.0))
    }
}

impl fmt::Debug for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VmId({self})")
    }
}

impl fmt::Debug for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpId({self})")
    }
}

impl FromStr for VmId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        parse(text).map(Self).ok_or_else(|| IdError { text: text.into(), kind: "a VM id" })
    }
}

impl FromStr for OpId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        text.strip_prefix(OP_ID_PREFIX)
            .and_then(parse)
            .map(Self)
            .ok_or_else(|| IdError { text: text.into(), kind: "an operation id (op- and 16 letters)" })
    }
}

impl TryFrom<String> for VmId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl TryFrom<String> for OpId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<VmId> for String {
    fn from(id: VmId) -> Self {
        id.to_string()
    }
}

impl From<OpId> for String {
    fn from(id: OpId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ids_round_trip(entropy: [u8; 16]) {
            let vm = VmId::from_entropy(entropy);
            prop_assert_eq!(vm.to_string().parse::<VmId>(), Ok(vm));
            let op = OpId::from_entropy(entropy);
            prop_assert_eq!(op.to_string().parse::<OpId>(), Ok(op));
        }

        #[test]
        fn any_text_parses_or_refuses(text: String) {
            if let Ok(id) = text.parse::<VmId>() { prop_assert_eq!(id.to_string(), text.clone()); }
            if let Ok(id) = text.parse::<OpId>() { prop_assert_eq!(id.to_string(), text); }
        }
    }

    #[test]
    fn ambiguous_letters_are_refused() {
        for bad in ["", "ilou00000000", "ABCDEFGH0000", "0000", "0000000000000"] {
            assert!(bad.parse::<VmId>().is_err(), "{bad}");
        }
    }
}
