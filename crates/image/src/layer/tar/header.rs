//! The 512 bytes before every entry.

use super::{BLOCK, TarFault};
use crate::ext4::Time;

/// Where the type is.
pub(super) const TYPE_AT: usize = 156;

/// The kinds of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Regular,
    Link,
    Symlink,
    Char,
    Block,
    Dir,
    /// GNU: a folder with a list of its names behind it.
    DumpDir,
    Fifo,
    GnuSparse,
    /// GNU: the next entry's path.
    LongName,
    /// GNU: the next entry's link target.
    LongTarget,
    /// Pax: records for the next entry.
    Pax,
    /// Pax: records for all further entries.
    PaxGlobal,
    /// GNU: the name of the whole archive.
    Label,
    Unknown,
}

/// A header without its extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) path: Vec<u8>,
    pub(super) target: Vec<u8>,
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    pub(super) mtime: Time,
    pub(super) device: (u32, u32),
    pub(super) kind: Type,
}

impl Header {
    /// Reads a header; none if it is the zeros that end a tar.
    pub(super) fn parse(block: &[u8; BLOCK]) -> Result<Option<Self>, TarFault> {
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if !checksum_matches(block) {
            return Err(TarFault::Checksum);
        }
        let kind = kind(block[TYPE_AT]);
        let mut path = text(&block[..100]).to_vec();
        if &block[257..263] == b"ustar\0" && block[345] != 0 {
            let prefix = text(&block[345..500]);
            path = [prefix, b"/", &path].concat();
        }
        let device = if matches!(kind, Type::Char | Type::Block) {
            (number32(&block[329..337], "device number")?, number32(&block[337..345], "device number")?)
        } else {
            (0, 0)
        };
        let seconds = number(&block[136..148]).ok_or(TarFault::Number { field: "time" })?;
        let mode = number(&block[100..108]).ok_or(TarFault::Number { field: "mode" })?;
        Ok(Some(Self {
            path,
            target: text(&block[157..257]).to_vec(),
            // Some writers put the file's type there as well.
            mode: u16::try_from(mode & 0o7777).unwrap_or(0),
            uid: number32(&block[108..116], "owner")?,
            gid: number32(&block[116..124], "group")?,
            size: size(&block[124..136])?,
            mtime: Time { seconds, nanos: 0 },
            device,
            kind,
        }))
    }
}

fn kind(byte: u8) -> Type {
    match byte {
        b'0' | b'7' | 0 => Type::Regular,
        b'1' => Type::Link,
        b'2' => Type::Symlink,
        b'3' => Type::Char,
        b'4' => Type::Block,
        b'5' => Type::Dir,
        b'D' => Type::DumpDir,
        b'6' => Type::Fifo,
        b'S' => Type::GnuSparse,
        b'L' => Type::LongName,
        b'K' => Type::LongTarget,
        b'x' | b'X' => Type::Pax,
        b'g' => Type::PaxGlobal,
        b'V' => Type::Label,
        _ => Type::Unknown,
    }
}

/// The sum of all bytes, its own field read as spaces. Old writers took the bytes as signed.
fn checksum_matches(block: &[u8; BLOCK]) -> bool {
    let Some(expected) = number(&block[148..156]) else { return false };
    let bytes = || block.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { b' ' } else { *byte });
    let unsigned: i64 = bytes().map(i64::from).sum();
    let signed: i64 = bytes().map(|byte| i64::from(byte.cast_signed())).sum();
    expected == unsigned || expected == signed
}

/// Up to the first zero.
pub(super) fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

pub(super) fn size(field: &[u8]) -> Result<u64, TarFault> {
    number(field).and_then(|size| u64::try_from(size).ok()).ok_or(TarFault::Number { field: "size" })
}

fn number32(field: &[u8], name: &'static str) -> Result<u32, TarFault> {
    number(field).and_then(|value| u32::try_from(value).ok()).ok_or(TarFault::Number { field: name })
}

/// A number in octal, or when the first bit is set in two's complement.
fn number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        // The second bit is the sign; the first only marks the form.
        let begin = if first & 0x40 != 0 { -1 } else { 0 };
        let head = i128::from(first & 0x7f) | if begin < 0 { -1 << 7 } else { 0 };
        let value =
            field[1..].iter().try_fold(head, |value, byte| value.checked_mul(256)?.checked_add((*byte).into()))?;
        return i64::try_from(value).ok();
    }
    let digits = field.iter().skip_while(|byte| **byte == b' ').take_while(|byte| !matches!(**byte, 0 | b' '));
    digits.into_iter().try_fold(0_i64, |value, byte| match byte {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add((byte - b'0').into()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_both_forms() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"  644 \0\0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0"), Some(0));
        assert_eq!(number(b"9\0"), None);
        assert_eq!(number(&[0x80, 0, 0, 2, 0, 0, 0, 0]), Some(0x2_0000_0000));
        assert_eq!(number(&[0xff; 12]), Some(-1));
        assert_eq!(number(&[0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
