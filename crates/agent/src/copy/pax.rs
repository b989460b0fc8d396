//! What a tar's extended headers say beyond its own: exact times and extended attributes.
//!
//! Owns: the records' keys and the form of times, "SECONDS.FRACTION" (POSIX pax; `SCHILY.xattr.` as every tar program has it).

use rustix::fs::Timespec;
use std::io::{self, Read};
use tar::Entry;

const MTIME: &str = "mtime";
const XATTR: &str = "SCHILY.xattr.";
/// Files with holes as newer tars write them. Their data begins with a map that would be taken for content.
const SPARSE: &str = "GNU.sparse.";

/// An extended attribute: name and value.
pub(super) type Xattr = (String, Vec<u8>);

/// What the records of one entry hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Extras {
    pub(super) mtime: Option<Timespec>,
    pub(super) xattrs: Vec<Xattr>,
    pub(super) foreign_sparse: bool,
}

impl Extras {
    /// Reads an entry's records. Records that mean nothing to us mean nothing.
    pub(super) fn of(entry: &mut Entry<'_, impl Read>) -> io::Result<Self> {
        let mut extras = Self::default();
        let Some(records) = entry.pax_extensions()? else { return Ok(extras) };
        for record in records {
            let record = record?;
            let Ok(key) = record.key() else { continue };
            match key.strip_prefix(XATTR) {
                Some(name) => extras.xattrs.push((name.to_owned(), record.value_bytes().to_vec())),
                None if key == MTIME => extras.mtime = record.value().ok().and_then(parse_time),
                None => extras.foreign_sparse |= key.starts_with(SPARSE),
            }
        }
        Ok(extras)
    }
}

/// The records for an entry with these extras.
pub(super) fn records(mtime: Timespec, xattrs: &[Xattr]) -> Vec<(String, Vec<u8>)> {
    let mut records = Vec::new();
    if mtime.tv_nsec != 0 || mtime.tv_sec < 0 {
        records.push((MTIME.to_owned(), format_time(mtime).into_bytes()));
    }
    records.extend(xattrs.iter().map(|(name, value)| (format!("{XATTR}{name}"), value.clone())));
    records
}

/// The fraction counts upwards also before the epoch in the kernel's time, and away from zero in a decimal number.
fn format_time(time: Timespec) -> String {
    let (seconds, nanoseconds) = match time.tv_sec < 0 && time.tv_nsec != 0 {
        true => (time.tv_sec + 1, 1_000_000_000 - time.tv_nsec),
        false => (time.tv_sec, time.tv_nsec),
    };
    let sign = if time.tv_sec < 0 { "-" } else { "" };
    format!("{sign}{}.{nanoseconds:09}", seconds.unsigned_abs())
}

fn parse_time(text: &str) -> Option<Timespec> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(seconds) || !digits(fraction) {
        return None;
    }
    let seconds: i64 = seconds.parse().ok()?;
    let nanoseconds: i64 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Some(match (negative, nanoseconds) {
        (false, _) => Timespec { tv_sec: seconds, tv_nsec: nanoseconds },
        (true, 0) => Timespec { tv_sec: -seconds, tv_nsec: 0 },
        (true, _) => Timespec { tv_sec: -seconds - 1, tv_nsec: 1_000_000_000 - nanoseconds },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_round_trip() {
        for (tv_sec, tv_nsec, text) in [
            (0, 1, "0.000000001"),
            (1_700_000_000, 123_456_789, "1700000000.123456789"),
            (-1, 750_000_000, "-0.250000000"),
            (-3, 0, "-3.000000000"),
        ] {
            let time = Timespec { tv_sec, tv_nsec };
            assert_eq!(format_time(time), text);
            assert_eq!(parse_time(text), Some(time));
        }
        assert_eq!(parse_time("12.5"), Some(Timespec { tv_sec: 12, tv_nsec: 500_000_000 }));
        assert_eq!(parse_time("12.1234567899"), Some(Timespec { tv_sec: 12, tv_nsec: 123_456_789 }));
        assert_eq!(parse_time("7"), Some(Timespec { tv_sec: 7, tv_nsec: 0 }));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in ["", "x", "1.x", "--1", "1.2.3", "99999999999999999999", "é.é"] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }
}
