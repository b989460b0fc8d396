//! Guessing where the finished file system will have the contents of its files.
//!
//! The writer lays a file system out from front to back: journal, folders and other metadata, then contents in the order
//! in which files were declared, around fixed tables whose places depend on the size alone. So for a given size, the free
//! runs are known before the first file is. What is not known is how much metadata comes first; room is left for it, and
//! the journal, whose length is ours to choose, takes up what stays free.
//!
//! A guess is never trusted: [`super::build`] compares it with the layout and copies when they differ in anything.

use super::{
    BLOCK,
    free::{self, Run},
    tree::Content,
};

/// Most blocks in one extent.
const MAX_EXTENT: u64 = 32768;
/// Extents that need no block of their own.
const INLINE_EXTENTS: u64 = 4;
/// Extents, or children, in one block of an extent tree.
const PER_BLOCK: u64 = 340;
/// Room for metadata, and so the longest journal, as a part of the size: the writer allows a quarter.
const METADATA_SHARE: u64 = 16;
/// Most room for metadata, in blocks: 512 MiB.
const METADATA_MAX: u64 = 131_072;

/// Hands out blocks in ascending order.
#[derive(Debug)]
pub(super) struct Places {
    /// Free runs that are left, the next one last.
    free: Vec<Run>,
    image: Option<ImagePlan>,
}

/// What a spool needs to remember to become an image.
#[derive(Debug, Clone)]
pub(super) struct ImagePlan {
    /// The size of the file system in bytes.
    pub(super) size: u64,
    /// All that is free in a file system of that size without files, but for a journal of the shortest length.
    pub(super) free: Vec<Run>,
    /// The block where contents begin.
    pub(super) data: u64,
}

impl ImagePlan {
    /// How many free blocks lie between the block `from` and the first of the contents; none if it lies behind them.
    pub(super) fn slack(&self, from: u64) -> Option<u64> {
        let between = |run: &Run| {
            let end = (run.start + run.blocks).min(self.data);
            end.saturating_sub(run.start.max(from))
        };
        (from <= self.data).then(|| self.free.iter().map(between).sum())
    }

    /// How many free blocks lie between the first of the contents and the block `from` behind it.
    pub(super) fn excess(&self, from: u64) -> u64 {
        let between = |run: &Run| (run.start + run.blocks).min(from).saturating_sub(run.start.max(self.data));
        self.free.iter().map(between).sum()
    }
}

impl Places {
    pub(super) fn unbounded() -> Self {
        Self { free: vec![Run { start: 0, blocks: u64::MAX / BLOCK as u64 }], image: None }
    }

    pub(super) fn in_image(size: u64) -> Self {
        let size = size.next_multiple_of(BLOCK as u64);
        let blocks = size / BLOCK as u64;
        let Some(free) = free::runs(size) else { return Self::unbounded() };
        let mut places = Self { free: free.iter().rev().copied().collect(), image: None };
        let mut metadata = (blocks / METADATA_SHARE).min(METADATA_MAX);
        while metadata > 0 {
            metadata -= places.take(metadata).1;
        }
        let Some(data) = places.free.last().map(|run| run.start) else { return Self::unbounded() };
        places.image = Some(ImagePlan { size, free, data });
        // Behind the image's end contents are safe, though no image comes of it.
        places.free.insert(0, Run { start: blocks, blocks: u64::MAX / BLOCK as u64 - blocks });
        places
    }

    /// What the spool means to become, if anything.
    pub(super) fn image(&self) -> Option<&ImagePlan> {
        self.image.as_ref()
    }

    /// The next free bytes' position, and how many blocks, at most those wanted and at least one, are free there.
    pub(super) fn take(&mut self, wanted: u64) -> (u64, u64) {
        let Some(run) = self.free.last_mut() else { return (u64::MAX, wanted) };
        let (start, count) = (run.start, run.blocks.min(wanted));
        run.start += count;
        run.blocks -= count;
        if run.blocks == 0 {
            self.free.pop();
        }
        (start * BLOCK as u64, count)
    }

    /// Leaves room for the extent tree that follows a file.
    pub(super) fn file_ends(&mut self, content: &Content) {
        if self.image.is_none() {
            return;
        }
        let extents: u64 =
            content.pieces.iter().map(|piece| piece.length.div_ceil(BLOCK as u64).div_ceil(MAX_EXTENT)).sum();
        if extents <= INLINE_EXTENTS {
            return;
        }
        let leaves = extents.div_ceil(PER_BLOCK);
        let above = if leaves > INLINE_EXTENTS { leaves.div_ceil(PER_BLOCK) } else { 0 };
        let mut tree = leaves + above;
        while tree > 0 {
            tree -= self.take(tree).1;
        }
    }
}
