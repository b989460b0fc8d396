//! Amounts of memory and disk as people write them.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A number of bytes. Reads `512M`, `8GiB`, `1.5g` (binary units, case ignored, `iB` and `B` optional) or plain bytes;
/// serialises as a number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(value_type = u64))]
pub struct ByteSize(pub u64);

/// A text that is not an amount of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a size: write a number and a unit, like 512M or 8GiB")]
pub struct ByteSizeError(String);

const UNITS: [(&str, u32); 5] = [("k", 10), ("m", 20), ("g", 30), ("t", 40), ("", 0)];

impl ByteSize {
    /// One mebibyte, the step in which memory is given to guests.
    pub const MIB: u64 = 1 << 20;
    /// One gibibyte.
    pub const GIB: u64 = 1 << 30;

    /// That many mebibytes.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// That many gibibytes.
    pub const fn gib(n: u64) -> Self {
        Self(n << 30)
    }

    /// Whole mebibytes, rounded down.
    pub const fn as_mib(self) -> u64 {
        self.0 >> 20
    }
}

impl FromStr for ByteSize {
    type Err = ByteSizeError;
    fn from_str(text: &str) -> Result<Self, ByteSizeError> {
        let bad = || ByteSizeError(text.into());
        let lower = text.trim().to_ascii_lowercase();
        let stem = lower.strip_suffix("ib").or_else(|| lower.strip_suffix('b')).unwrap_or(&lower);
        let (number, shift) = UNITS
            .iter()
            .find_map(|(unit, shift)| stem.strip_suffix(unit).map(|number| (number.trim_end(), *shift)))
            .ok_or_else(bad)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || number.ends_with('.') || fraction.len() > 9 || (!fraction.is_empty() && !digits(fraction))
        {
            return Err(bad());
        }
        let unit = 1u128 << shift;
        let whole: u128 = whole.parse().map_err(|_| bad())?;
        let part = match fraction {
            "" => 0,
            digits => {
                digits.parse::<u128>().map_err(|_| bad())? * unit
                    / 10u128.pow(u32::try_from(digits.len()).map_err(|_| bad())?)
            }
        };
        whole.checked_mul(unit).and_then(|bytes| u64::try_from(bytes + part).ok()).map(Self).ok_or_else(bad)
    }
}

impl fmt::Display for ByteSize {
    /// The largest unit that divides it, or one decimal of the largest unit it reaches.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, shift) = match self.0 {
            n if n >= 1 << 40 => ("TiB", 40),
            n if n >= 1 << 30 => ("GiB", 30),
            n if n >= 1 << 20 => ("MiB", 20),
            n if n >= 1 << 10 => ("KiB", 10),
            _ => ("B", 0),
        };
        let whole = self.0 >> shift;
        let tenths = ((u128::from(self.0) * 10) >> shift) % 10;
        if tenths == 0 { write!(f, "{whole} {unit}") } else { write!(f, "{whole}.{tenths} {unit}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_people_write() {
        for (text, bytes) in [
            ("512", 512),
            ("512M", 512 << 20),
            ("8GiB", 8 << 30),
            ("1.5g", 3 << 29),
            ("2 kb", 2048),
            ("0", 0),
            ("1t", 1 << 40),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "G", "-1G", "1.G", ".5G", "1e3", "99999999999T", "1 2", "12X", "١G"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn prints_short() {
        assert_eq!(ByteSize::mib(8192).to_string(), "8 GiB");
        assert_eq!(ByteSize(3 << 29).to_string(), "1.5 GiB");
        assert_eq!(ByteSize(7).to_string(), "7 B");
    }

    proptest! {
        #[test]
        fn never_panics(text: String) { let _ = text.parse::<ByteSize>(); }
    }
}
