//! The namespace of a file system to be made: inodes in an arena, names in folders.
//!
//! Names and link targets are bytes here, as in the formats they come from; [`super::build`] refuses what ext4's writer
//! cannot express.

use std::collections::{BTreeMap, VecDeque};

/// The most symbolic links on one path: Linux's own limit.
const MAX_LINKS: usize = 40;

/// An inode of a [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InodeId(pub(crate) u32);

/// A moment: seconds since 1970 and nanoseconds within the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time {
    /// Seconds, negative before 1970.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

/// Everything about an inode but its kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meta {
    /// Permission bits, with setuid, setgid and sticky: 0o7777 at most.
    pub mode: u16,
    /// The owner.
    pub uid: u32,
    /// The owner's group.
    pub gid: u32,
    /// When it was last changed.
    pub mtime: Time,
    /// Extended attributes by full name, as the system calls show them. None, as a rule.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

impl Meta {
    /// Root's, with that mode and time, and no attributes.
    pub fn root(mode: u16, mtime: Time) -> Self {
        Self { mode, mtime, ..Self::default() }
    }
}

/// A piece of a file that is not a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where in the file, in bytes: a multiple of the block size.
    pub offset: u64,
    /// Length in bytes: a multiple of the block size, except at the file's end.
    pub length: u64,
    /// Where in the spool, in bytes.
    pub at: u64,
}

/// A regular file's bytes: pieces in a [`Spool`](super::Spool), ascending, and holes between them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Content {
    /// The file's length in bytes.
    pub size: u64,
    /// What is not a hole.
    pub pieces: Vec<Piece>,
}

/// What an inode is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A folder and the names in it.
    Dir(BTreeMap<Box<[u8]>, InodeId>),
    /// A regular file.
    File(Content),
    /// A symbolic link and where it points.
    Symlink(Box<[u8]>),
    /// A character device.
    Char {
        /// Its driver.
        major: u32,
        /// Its unit.
        minor: u32,
    },
    /// A block device.
    Block {
        /// Its driver.
        major: u32,
        /// Its unit.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// An inode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inode {
    /// Its metadata.
    pub meta: Meta,
    /// What it is.
    pub kind: Kind,
}

/// A namespace. The root is a folder.
#[derive(Debug)]
pub struct Tree {
    inodes: Vec<Inode>,
}

impl Tree {
    /// The root folder.
    pub const ROOT: InodeId = InodeId(0);

    /// An empty folder with that metadata.
    pub fn new(meta: Meta) -> Self {
        Self { inodes: vec![Inode { meta, kind: Kind::Dir(BTreeMap::new()) }] }
    }

    /// An inode.
    pub fn inode(&self, id: InodeId) -> &Inode {
        &self.inodes[id.0 as usize]
    }

    /// All inodes, also those that lost their last name, in order of making: parents before what is in them.
    pub fn inodes(&self) -> impl Iterator<Item = (InodeId, &Inode)> {
        (0..).map(InodeId).zip(&self.inodes)
    }

    /// A regular file's contents; none if it is something else.
    pub fn content(&self, id: InodeId) -> Option<&Content> {
        match &self.inode(id).kind {
            Kind::File(content) => Some(content),
            _ => None,
        }
    }

    /// As [`Self::content`], to be changed.
    pub fn content_mut(&mut self, id: InodeId) -> Option<&mut Content> {
        match &mut self.inodes[id.0 as usize].kind {
            Kind::File(content) => Some(content),
            _ => None,
        }
    }

    /// What has a name in a folder; none if it has no such name or is no folder.
    pub fn child(&self, dir: InodeId, name: &[u8]) -> Option<InodeId> {
        match &self.inode(dir).kind {
            Kind::Dir(names) => names.get(name).copied(),
            _ => None,
        }
    }

    /// What an absolute path means when all symbolic links, also that of the last name, are followed inside the tree.
    pub fn resolve(&self, path: &[u8]) -> Option<InodeId> {
        let mut ahead: VecDeque<&[u8]> = path.split(|byte| *byte == b'/').collect();
        let mut behind = vec![Self::ROOT];
        let mut links = 0;
        while let Some(name) = ahead.pop_front() {
            match name {
                b"" | b"." => continue,
                b".." => {
                    behind.truncate((behind.len() - 1).max(1));
                    continue;
                }
                _ => {}
            }
            let child = self.child(*behind.last()?, name)?;
            let Kind::Symlink(target) = &self.inode(child).kind else {
                behind.push(child);
                continue;
            };
            links += 1;
            if links > MAX_LINKS {
                return None;
            }
            if target.first() == Some(&b'/') {
                behind.truncate(1);
            }
            for name in target.split(|byte| *byte == b'/').rev() {
                ahead.push_front(name);
            }
        }
        behind.pop()
    }

    /// Makes an inode with a name in `dir`. A name that was taken now means the new one.
    pub fn add(&mut self, dir: InodeId, name: &[u8], inode: Inode) -> InodeId {
        let id = InodeId(u32::try_from(self.inodes.len()).unwrap_or(u32::MAX));
        self.inodes.push(inode);
        self.link(dir, name, id);
        id
    }

    /// Gives an inode a further name. Without effect if `dir` is no folder.
    pub fn link(&mut self, dir: InodeId, name: &[u8], target: InodeId) {
        if let Kind::Dir(names) = &mut self.inodes[dir.0 as usize].kind {
            names.insert(name.into(), target);
        }
    }

    /// Takes a name out of a folder and says what it meant.
    pub fn unlink(&mut self, dir: InodeId, name: &[u8]) -> Option<InodeId> {
        match &mut self.inodes[dir.0 as usize].kind {
            Kind::Dir(names) => names.remove(name),
            _ => None,
        }
    }

    /// Makes a folder.
    pub fn dir(&mut self, dir: InodeId, name: &[u8], meta: Meta) -> InodeId {
        self.add(dir, name, Inode { meta, kind: Kind::Dir(BTreeMap::new()) })
    }

    /// Makes a regular file.
    pub fn file(&mut self, dir: InodeId, name: &[u8], meta: Meta, content: Content) -> InodeId {
        self.add(dir, name, Inode { meta, kind: Kind::File(content) })
    }

    /// Makes a symbolic link.
    pub fn symlink(&mut self, dir: InodeId, name: &[u8], meta: Meta, target: &[u8]) -> InodeId {
        self.add(dir, name, Inode { meta, kind: Kind::Symlink(target.into()) })
    }
}
