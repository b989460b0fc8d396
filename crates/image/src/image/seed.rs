//! What a VM's work disk begins with: the image's `/root`.
//!
//! A seed is a list of inodes beside the image; the contents of files stay in the image, and the seed says where. So making a
//! work disk reads only what belongs there, exactly as the image has it, and no byte is stored twice.

use super::store::file;
use crate::ext4::{Content, Inode, InodeId, Kind, Meta, Piece, Time, Tree};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::path::Path;

/// The version of the form.
const FORMAT: u32 = 1;
/// The longest name in a folder, in bytes: Linux's own limit.
const MAX_NAME: usize = 255;
/// The longest file, in bytes: what ext4 can address with blocks of 4 KiB.
const MAX_FILE: u64 = (1 << 44) - (1 << 12);

/// A tree, and the file that holds the contents of its files.
#[derive(Debug)]
pub(crate) struct Seed {
    pub(crate) tree: Tree,
    pub(crate) contents: File,
}

#[derive(Serialize, Deserialize)]
struct Record {
    format: u32,
    /// The root first, every folder before what is in it.
    inodes: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    mode: u16,
    uid: u32,
    gid: u32,
    mtime: (i64, u32),
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    xattrs: BTreeMap<String, Vec<u8>>,
    #[serde(flatten)]
    kind: EntryKind,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum EntryKind {
    /// Names, and which inode each means.
    Dir(BTreeMap<String, usize>),
    /// The length, and pieces: where in the file, how long, where in the image.
    File(u64, Vec<(u64, u64, u64)>),
    Symlink(String),
    Char(u32, u32),
    Block(u32, u32),
    Fifo,
}

/// The seed that consists of `dir` and what is below it, whose contents are in the image's file.
pub(super) fn to_json(tree: &Tree, dir: InodeId) -> serde_json::Result<Vec<u8>> {
    let mut order = vec![dir];
    let mut index = HashMap::from([(dir, 0)]);
    let mut next = 0;
    while let Some(id) = order.get(next) {
        next += 1;
        let Kind::Dir(names) = &tree.inode(*id).kind else { continue };
        for child in names.values() {
            index.entry(*child).or_insert_with(|| {
                order.push(*child);
                order.len() - 1
            });
        }
    }
    let inodes = order.iter().map(|id| entry(tree.inode(*id), &index)).collect();
    serde_json::to_vec(&Record { format: FORMAT, inodes })
}

fn entry(inode: &Inode, index: &HashMap<InodeId, usize>) -> Entry {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let kind = match &inode.kind {
        Kind::Dir(names) => {
            EntryKind::Dir(names.iter().filter_map(|(name, id)| Some((text(name), *index.get(id)?))).collect())
        }
        Kind::File(content) => {
            EntryKind::File(content.size, content.pieces.iter().map(|p| (p.offset, p.length, p.at)).collect())
        }
        Kind::Symlink(target) => EntryKind::Symlink(text(target)),
        Kind::Char { major, minor } => EntryKind::Char(*major, *minor),
        Kind::Block { major, minor } => EntryKind::Block(*major, *minor),
        Kind::Fifo => EntryKind::Fifo,
    };
    let Meta { mode, uid, gid, mtime, xattrs } = inode.meta.clone();
    Entry { mode, uid, gid, mtime: (mtime.seconds, mtime.nanos), xattrs, kind }
}

impl Seed {
    /// Reads a seed. Its image must lie beside it.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let record: Record = serde_json::from_slice(&std::fs::read(path)?)?;
        if record.format != FORMAT {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the seed has a form that this version cannot read",
            ));
        }
        let tree =
            tree(record.inodes).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the seed is damaged"))?;
        Ok(Self { tree, contents: File::open(path.with_file_name(file::ROOT))? })
    }
}

/// The tree; none if an index leads nowhere or to a folder above, or something in it cannot be.
fn tree(entries: Vec<Entry>) -> Option<Tree> {
    let mut kinds = Vec::with_capacity(entries.len());
    let mut metas = Vec::with_capacity(entries.len());
    for Entry { mode, uid, gid, mtime: (seconds, nanos), xattrs, kind } in entries {
        metas.push(Meta { mode, uid, gid, mtime: Time { seconds, nanos }, xattrs });
        kinds.push(kind);
    }
    let mut tree = Tree::new(metas.first()?.clone());
    let mut made: Vec<Option<InodeId>> = vec![None; kinds.len()];
    *made.first_mut()? = Some(Tree::ROOT);
    for index in 0..kinds.len() {
        let EntryKind::Dir(names) = &kinds[index] else { continue };
        let dir = made[index]?;
        for (name, child) in names {
            let meta = metas.get(*child).filter(|_| is_name(name))?.clone();
            match (&kinds[*child], made[*child]) {
                (EntryKind::Dir(_), Some(_)) => return None,
                (EntryKind::Dir(_), None) if *child <= index => return None,
                (_, Some(known)) => tree.link(dir, name.as_bytes(), known),
                (kind, None) => {
                    made[*child] = Some(tree.add(dir, name.as_bytes(), Inode { meta, kind: inode_kind(kind)? }))
                }
            }
        }
    }
    Some(tree)
}

fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && name.len() <= MAX_NAME && !name.contains(['/', '\0'])
}

fn inode_kind(kind: &EntryKind) -> Option<Kind> {
    Some(match kind {
        EntryKind::Dir(_) => Kind::Dir(BTreeMap::new()),
        EntryKind::File(size, pieces) => {
            let mut end = Some(0).filter(|_| *size <= MAX_FILE)?;
            for (offset, length, at) in pieces {
                at.checked_add(*length)?;
                end = offset.checked_add(*length).filter(|next| *offset >= end && next <= size)?;
            }
            let pieces = pieces.iter().map(|(offset, length, at)| Piece { offset: *offset, length: *length, at: *at });
            Kind::File(Content { size: *size, pieces: pieces.collect() })
        }
        EntryKind::Symlink(target) => Kind::Symlink(target.as_bytes().into()),
        EntryKind::Char(major, minor) => Kind::Char { major: *major, minor: *minor },
        EntryKind::Block(major, minor) => Kind::Block { major: *major, minor: *minor },
        EntryKind::Fifo => Kind::Fifo,
    })
}
