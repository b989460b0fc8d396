//! Where the bytes of a sparse file belong.

use super::{BLOCK, TarFault, header, pax};

/// Offset and length of what is stored.
type Ranges = Vec<(u64, u64)>;

/// The most ranges that a file may have: more than ext4 can map are of no use.
const MAX_RANGES: usize = 1 << 19;

/// The ranges of a file that are stored, ascending, and its length.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Map {
    ranges: Ranges,
    size: u64,
}

/// Ranges that overlap, go backwards, or lie behind the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MapFault;

impl Map {
    /// Everything is stored.
    pub(super) fn whole(size: u64) -> Self {
        Self { ranges: if size > 0 { vec![(0, size)] } else { Vec::new() }, size }
    }

    pub(super) fn new(mut ranges: Ranges, size: u64) -> Result<Self, MapFault> {
        let mut end = 0;
        for (offset, length) in &ranges {
            if *offset < end {
                return Err(MapFault);
            }
            end = offset.checked_add(*length).filter(|end| *end <= size).ok_or(MapFault)?;
        }
        ranges.retain(|(_, length)| *length > 0);
        Ok(Self { ranges, size })
    }

    /// Offset and length of what is stored.
    pub(super) fn ranges(&self) -> &[(u64, u64)] {
        &self.ranges
    }

    /// How many bytes are stored.
    pub(super) fn stored(&self) -> u64 {
        self.ranges.iter().map(|(_, length)| length).sum()
    }

    /// How long the file is.
    pub(super) fn size(&self) -> u64 {
        self.size
    }
}

/// The ranges in a header of GNU's old form, whether there are more behind it, and how long the file is.
pub(super) fn in_header(block: &[u8; BLOCK]) -> Result<(Ranges, bool, u64), TarFault> {
    let mut ranges = Vec::new();
    add(&block[386..482], &mut ranges)?;
    Ok((ranges, block[482] != 0, header::size(&block[483..495])?))
}

/// Adds the ranges in one of the blocks behind such a header, and says whether there are more.
pub(super) fn in_extension(block: &[u8; BLOCK], ranges: &mut Ranges) -> Result<bool, TarFault> {
    add(&block[..504], ranges)?;
    Ok(block[504] != 0)
}

fn add(fields: &[u8], ranges: &mut Ranges) -> Result<(), TarFault> {
    for field in fields.chunks_exact(24) {
        if field[0] == 0 {
            break;
        }
        if ranges.len() == MAX_RANGES {
            return Err(TarFault::SparseMap);
        }
        ranges.push((header::size(&field[..12])?, header::size(&field[12..])?));
    }
    Ok(())
}

/// Reads a map in decimal, a number a line: how many ranges, then offset and length of each.
#[derive(Debug, Default)]
pub(super) struct Decimal {
    line: Vec<u8>,
    count: Option<usize>,
    numbers: Vec<u64>,
}

impl Decimal {
    /// Takes the next block; returns the ranges when it was the last.
    pub(super) fn take(&mut self, block: &[u8]) -> Result<Option<Ranges>, TarFault> {
        for byte in block {
            if *byte != b'\n' {
                self.line.push(*byte);
                if self.line.len() > 20 {
                    return Err(TarFault::SparseMap);
                }
                continue;
            }
            let number = pax::decimal(&self.line).ok_or(TarFault::SparseMap)?;
            self.line.clear();
            match self.count {
                None => {
                    let count = usize::try_from(number).ok().filter(|count| *count <= MAX_RANGES);
                    self.count = Some(count.ok_or(TarFault::SparseMap)?);
                }
                Some(_) => self.numbers.push(number),
            }
            if self.count.is_some_and(|count| self.numbers.len() == 2 * count) {
                let (pairs, _) = self.numbers.as_chunks();
                return Ok(Some(pairs.iter().map(|[offset, length]| (*offset, *length)).collect()));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_that_contradict_themselves_are_refused() {
        assert!(Map::new(vec![(0, 10), (10, 5), (512, 0)], 512).is_ok());
        for bad in [vec![(0, 10), (9, 5)], vec![(10, 5), (0, 1)], vec![(500, 13)], vec![(u64::MAX, 2)]] {
            assert_eq!(Map::new(bad, 512), Err(MapFault));
        }
    }

    #[test]
    fn decimal_maps_may_take_several_blocks() {
        let mut parser = Decimal::default();
        assert_eq!(parser.take(b"2\n0\n1").unwrap(), None);
        assert_eq!(parser.take(b"0\n4096\n7\n\0\0").unwrap(), Some(vec![(0, 10), (4096, 7)]));
        assert!(Decimal::default().take(b"99999999\n").is_err());
        assert!(Decimal::default().take(b"x\n").is_err());
    }
}
