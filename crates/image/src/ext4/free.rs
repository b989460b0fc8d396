//! Which blocks of a file system are free before there are files in it.
//!
//! The writer tells this only in what it writes, so an empty file system is laid out and its own maps are read.

use super::{BLOCK, volume};
use mkext4::{FsBuilder, RegionSink};
use std::{collections::BTreeMap, io};

/// Blocks in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) start: u64,
    pub(super) blocks: u64,
}

const BLOCK_U64: u64 = BLOCK as u64;
/// Length of a group's description, without the feature `64bit`.
const DESCRIPTOR: usize = 32;

/// Keeps all that is not zero.
#[derive(Default)]
struct Written(BTreeMap<u64, Vec<u8>>);

impl RegionSink for Written {
    fn data(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.insert(offset / BLOCK_U64, bytes.to_vec());
        Ok(())
    }

    fn zeros(&mut self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }
}

/// The free runs, ascending, of an image of `size` bytes with the shortest journal; none if there is no such image.
pub(super) fn runs(size: u64) -> Option<Vec<Run>> {
    let layout = FsBuilder::new(volume::probe(size)).ok()?.seal().ok()?;
    let mut written = Written::default();
    layout.writer(&mut written).ok()?;
    let descriptors = written.0.get(&1)?;
    let mut runs: Vec<Run> = Vec::new();
    let mut free = |start: u64, blocks: u64| match runs.last_mut() {
        Some(run) if run.start + run.blocks == start => run.blocks += blocks,
        _ => runs.push(Run { start, blocks }),
    };
    // Bits behind the last block are set, as if they were taken.
    for (first, descriptor) in (0..size / BLOCK_U64).step_by(8 * BLOCK).zip(descriptors.chunks_exact(DESCRIPTOR)) {
        let map = u32::from_le_bytes([descriptor[0], descriptor[1], descriptor[2], descriptor[3]]);
        for (bits, at) in written.0.get(&map.into())?.iter().zip((first..).step_by(8)) {
            match bits {
                0 => free(at, 8),
                0xff => {}
                _ => (0..8).filter(|bit| bits & (1 << bit) == 0).for_each(|bit| free(at + bit, 1)),
            }
        }
    }
    Some(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_blocks_are_as_many_as_the_superblock_says() {
        for size in [16 << 20, 200 << 20, 5 << 30] {
            let layout = FsBuilder::new(volume::probe(size)).unwrap().seal().unwrap();
            let mut written = Written::default();
            layout.writer(&mut written).unwrap();
            let superblock = &written.0[&0][1024..];
            let told = u32::from_le_bytes(superblock[12..16].try_into().unwrap());
            let found: u64 = runs(size).unwrap().iter().map(|run| run.blocks).sum();
            assert_eq!(found, u64::from(told));
        }
    }
}
