//! Extended headers: records of `LENGTH KEY=VALUE\n`.

use super::TarFault;
use crate::ext4::Time;
use std::collections::BTreeMap;

/// What records say about an entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) target: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mtime: Option<Time>,
    pub(super) xattrs: BTreeMap<String, Vec<u8>>,
    pub(super) sparse: Sparse,
}

/// GNU's records for sparse files, forms 0.0, 0.1 and 1.0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sparse {
    pub(super) name: Option<Vec<u8>>,
    pub(super) real_size: Option<u64>,
    /// Offset and length, in forms 0.0 and 0.1.
    pub(super) ranges: Option<Vec<(u64, u64)>>,
    major: Option<u64>,
    /// The offset whose length has not come yet, in form 0.0.
    offset: Option<u64>,
}

impl Sparse {
    /// Whether the map is in front of the file's bytes.
    pub(super) fn is_in_data(&self) -> bool {
        self.major == Some(1)
    }
}

impl Records {
    pub(super) fn parse(mut bytes: &[u8]) -> Result<Self, TarFault> {
        let mut records = Self::default();
        while !bytes.is_empty() {
            let (record, rest) = split(bytes).ok_or(TarFault::Record)?;
            bytes = rest;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or(TarFault::Record)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            let key = std::str::from_utf8(key).map_err(|_| TarFault::Record)?;
            records.take(key, value).ok_or_else(|| TarFault::Value { key: key.escape_debug().to_string() })?;
        }
        Ok(records)
    }

    /// These records, and where they say nothing, those of `global`.
    pub(super) fn over(self, global: &Self) -> Self {
        let mut xattrs = global.xattrs.clone();
        xattrs.extend(self.xattrs);
        Self {
            path: self.path.or_else(|| global.path.clone()),
            target: self.target.or_else(|| global.target.clone()),
            size: self.size.or(global.size),
            uid: self.uid.or(global.uid),
            gid: self.gid.or(global.gid),
            mtime: self.mtime.or(global.mtime),
            xattrs,
            sparse: self.sparse,
        }
    }

    fn take(&mut self, key: &str, value: &[u8]) -> Option<()> {
        match key {
            "path" => self.path = Some(text(value)?),
            "linkpath" => self.target = Some(text(value)?),
            "size" => self.size = Some(decimal(value)?),
            "uid" => self.uid = Some(decimal(value)?.try_into().ok()?),
            "gid" => self.gid = Some(decimal(value)?.try_into().ok()?),
            "mtime" => self.mtime = Some(time(value)?),
            "GNU.sparse.name" => self.sparse.name = Some(text(value)?),
            "GNU.sparse.size" | "GNU.sparse.realsize" => self.sparse.real_size = Some(decimal(value)?),
            "GNU.sparse.major" => self.sparse.major = Some(decimal(value)?),
            "GNU.sparse.offset" => self.sparse.offset = Some(decimal(value)?),
            "GNU.sparse.numbytes" => {
                let range = (self.sparse.offset.take()?, decimal(value)?);
                self.sparse.ranges.get_or_insert_default().push(range);
            }
            "GNU.sparse.map" => self.sparse.ranges = Some(map(value)?),
            _ => {
                if let Some(name) = key.strip_prefix("SCHILY.xattr.").filter(|name| is_wanted(name)) {
                    self.xattrs.insert(name.to_owned(), value.to_vec());
                }
            }
        }
        Some(())
    }
}

/// Attributes that Linux has and that mean the same in the guest. Those of overlayfs would be read by the guest's own.
fn is_wanted(name: &str) -> bool {
    let spaces = ["user.", "trusted.", "security.", "system.posix_acl_"];
    let overlay = ["trusted.overlay.", "user.overlay."];
    spaces.iter().any(|space| name.starts_with(space)) && !overlay.iter().any(|space| name.starts_with(space))
}

/// The first record without its length and newline, and what follows it.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let length: usize = decimal(&bytes[..space])?.try_into().ok()?;
    let (record, rest) = bytes.split_at_checked(length)?;
    Some((record.get(space + 1..)?.strip_suffix(b"\n")?, rest))
}

fn text(value: &[u8]) -> Option<Vec<u8>> {
    (!value.is_empty() && !value.contains(&0)).then(|| value.to_vec())
}

pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    let valid = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    valid.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

/// Seconds with a fraction, perhaps negative. Digits past nanoseconds are dropped.
fn time(value: &[u8]) -> Option<Time> {
    let (negative, value) = value.strip_prefix(b"-").map_or((false, value), |rest| (true, rest));
    let mut parts = value.splitn(2, |byte| *byte == b'.');
    let whole = i64::try_from(decimal(parts.next()?)?).ok()?;
    let mut nanos = 0;
    if let Some(fraction) = parts.next() {
        if !fraction.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let digits = fraction.iter().map(|digit| u32::from(digit - b'0')).chain(std::iter::repeat(0));
        nanos = digits.take(9).fold(0, |nanos, digit| nanos * 10 + digit);
    }
    Some(match (negative, nanos) {
        (false, _) => Time { seconds: whole, nanos },
        (true, 0) => Time { seconds: -whole, nanos: 0 },
        (true, _) => Time { seconds: -whole - 1, nanos: 1_000_000_000 - nanos },
    })
}

fn map(value: &[u8]) -> Option<Vec<(u64, u64)>> {
    let numbers: Option<Vec<u64>> = value.split(|byte| *byte == b',').map(decimal).collect();
    let (pairs, rest) = numbers.as_deref()?.as_chunks();
    rest.is_empty().then(|| pairs.iter().map(|[offset, length]| (*offset, *length)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn records_with_any_bytes() {
        let mut bytes = b"27 mtime=1700000000.5000000\n".to_vec();
        bytes[..2].copy_from_slice(b"28");
        bytes.extend(b"39 SCHILY.xattr.security.capability=\0\n\n");
        let records = Records::parse(&bytes).unwrap();
        assert_eq!(records.mtime, Some(Time { seconds: 1_700_000_000, nanos: 500_000_000 }));
        assert_eq!(records.xattrs["security.capability"], b"\0\n");
    }

    #[test]
    fn times_before_1970() {
        assert_eq!(time(b"-1.25"), Some(Time { seconds: -2, nanos: 750_000_000 }));
        assert_eq!(time(b"-3"), Some(Time { seconds: -3, nanos: 0 }));
        assert_eq!(time(b"1.0000000019"), Some(Time { seconds: 1, nanos: 1 }));
        assert_eq!(time(b"1.x"), None);
        assert_eq!(time(b""), None);
    }

    #[test]
    fn malformed_records_are_refused() {
        for bad in [&b"5 a=b\n"[..], b"99 a=b\n", b"6 a=bc", b"x a=b\n", b"6 abc\n", b"0 \n", b"12 size=-20\n"] {
            assert!(Records::parse(bad).is_err(), "{}", bad.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>) { let _ = Records::parse(&bytes); }
    }
}
