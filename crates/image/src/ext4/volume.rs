//! A file system's own facts, and what they mean for the writer.

use mkext4::{InodeCount, Options};

/// The shortest journal, in blocks: what the writer gives small file systems.
pub(super) const MIN_JOURNAL: u32 = 1024;
/// The longest journal of a file system that is written to, in blocks: 64 MiB. A longer one would only take room on the host.
const MAX_JOURNAL: u64 = 16_384;
/// Bytes for which there is one inode. Half of what is usual: unused inodes are holes, and package trees are full of small files.
const PER_INODE: u64 = 8192;

/// What tells one file system from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Volume<'a> {
    /// The label, of 16 bytes at most.
    pub label: &'a str,
    /// The UUID.
    pub uuid: [u8; 16],
    /// When it was made, in seconds since 1970.
    pub made: u32,
}

impl Volume<'_> {
    /// Options for a file system of `size` bytes with a journal of that many blocks.
    pub(super) fn options(&self, size: u64, journal: u32) -> Options {
        let mut options = Options::new(size, self.uuid, self.made.into());
        options.label = Some(self.label.to_owned());
        options.inodes = InodeCount::Exact(u32::try_from(size / PER_INODE).unwrap_or(u32::MAX));
        // Nobody but the VM's root writes to it.
        options.reserved_percent = 0;
        options.journal_blocks = Some(journal);
        options
    }

    /// Options for a file system of `size` bytes that will be written to.
    pub(super) fn writable(&self, size: u64) -> Options {
        let blocks = size / super::BLOCK as u64;
        let journal = (blocks / 64).clamp(MIN_JOURNAL.into(), MAX_JOURNAL);
        self.options(size, u32::try_from(journal).unwrap_or(MIN_JOURNAL))
    }
}

/// Options for finding out where an image of that size has what: these places depend on neither label nor UUID.
pub(super) fn probe(size: u64) -> Options {
    Volume { label: "", uuid: [0; 16], made: 0 }.options(size, MIN_JOURNAL)
}
