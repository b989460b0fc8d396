//! What a tar's extended headers say beyond its own: exact times and extended attributes.
//!
//! Owns: the records' keys and the form of times, "SECONDS.FRACTION" (POSIX pax; `SCHILY.xattr.` as every tar program has it).

use rustix::fs::Timespec;

const MTIME: &str = "mtime";
const XATTR: &str = "SCHILY.xattr.";
/// Files with holes as newer tars write them. Their data begins with a map that would be taken for content.
const SPARSE: &str = "GNU.sparse.";

/// An extended attribute: name and value.
pub(super) type Xattr = (String, Vec<u8>);

/// What the records of one entry hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Extras {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mtime: Option<Timespec>,
    pub(super) xattrs: Vec<Xattr>,
    pub(super) foreign_sparse: bool,
}

impl Extras {
    /// Reads records: `LENGTH KEY=VALUE` and a line feed, where the length is that of all of it and the value may be any
    /// bytes. Records that mean nothing to us mean nothing; none when they are malformed.
    pub(super) fn parse(mut records: &[u8]) -> Option<Self> {
        let mut extras = Self::default();
        while !records.is_empty() {
            let digits = records.iter().position(|byte| *byte == b' ')?;
            let length: usize = str::from_utf8(&records[..digits]).ok()?.parse().ok()?;
            let record = records.get(digits + 1..length)?.strip_suffix(b"\n")?;
            let equals = record.iter().position(|byte| *byte == b'=')?;
            let (key, value) = (str::from_utf8(&record[..equals]), &record[equals + 1..]);
            extras.take(key.unwrap_or_default(), value);
            records = &records[length..];
        }
        Some(extras)
    }

    fn take(&mut self, key: &str, value: &[u8]) {
        let text = str::from_utf8(value).unwrap_or_default();
        match key {
            "path" => self.path = Some(value.to_vec()),
            "linkpath" => self.link = Some(value.to_vec()),
            "size" => self.size = text.parse().ok(),
            "uid" => self.uid = text.parse().ok(),
            "gid" => self.gid = text.parse().ok(),
            MTIME => self.mtime = parse_time(text),
            _ => match key.strip_prefix(XATTR) {
                Some(name) => self.xattrs.push((name.to_owned(), value.to_vec())),
                None => self.foreign_sparse |= key.starts_with(SPARSE),
            },
        }
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
    fn values_may_hold_anything() {
        let extras = Extras::parse(b"12 path=a=b\n26 SCHILY.xattr.user.x=\n\0\n9 new=er\n").expect("records");
        assert_eq!(extras.path.as_deref(), Some(&b"a=b"[..]));
        assert_eq!(extras.xattrs, [("user.x".to_owned(), b"\n\0".to_vec())]);
        for broken in
            [&b"x"[..], b"5 a=b", b"9 a=b\n", b"0 a=b\n", b"99999999999999999999 a=b\n", b"6 a b\n", b" a=b\n"]
        {
            assert_eq!(Extras::parse(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in ["", "x", "1.x", "--1", "1.2.3", "99999999999999999999", "é.é"] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }
}
