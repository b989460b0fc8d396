//! Telling the writer what there is: a [`Tree`] becomes a sealed layout.

use super::{
    Ext4Error, acl,
    tree::{Content, Inode, InodeId, Kind, Meta, Tree},
};
use crate::cancel::Cancel;
use mkext4::{FsBuilder, InodeHandle, Layout, SparseSeg, SpecialKind};
use std::collections::HashMap;

/// What an attribute takes beside its name and value, at most.
const XATTR_ENTRY: usize = 16 + 6;
/// The most bytes of attributes that surely find room in one block.
const MAX_XATTRS: usize = super::BLOCK - 36;

/// A layout, and where it has each file.
pub(super) struct Declared {
    pub(super) layout: Layout,
    /// Files that have contents, in the order in which the layout has them.
    pub(super) files: Vec<(InodeId, InodeHandle)>,
}

/// Everything reachable from the root of `tree`, sealed.
pub(super) fn seal(tree: &Tree, options: &mkext4::Options, cancel: &Cancel) -> Result<Declared, Ext4Error> {
    let size = options.size_bytes;
    let mut declaration = Declaration {
        tree,
        builder: FsBuilder::new(options.clone()).map_err(Ext4Error::layout(size))?,
        handles: HashMap::new(),
    };
    let mut others = Vec::new();
    declaration.folders(&mut others, cancel)?;
    // Contents lie in the order of declaration, and the spool has them in the order of their arrival.
    others.sort_by_key(|(_, _, id)| first_byte(&tree.inode(*id).kind));
    let mut files = Vec::new();
    for (dir, name, id) in others {
        cancel.check()?;
        let fresh = declaration.handles.get(&id).copied();
        let handle = declaration.entry(dir, name, id, fresh)?;
        if fresh.is_none() && first_byte(&tree.inode(id).kind).is_some() {
            files.push((id, handle));
        }
    }
    let layout = declaration.builder.seal().map_err(Ext4Error::layout(size))?;
    Ok(Declared { layout, files })
}

fn first_byte(kind: &Kind) -> Option<u64> {
    match kind {
        Kind::File(content) => content.pieces.first().map(|piece| piece.at),
        _ => None,
    }
}

struct Declaration<'t> {
    tree: &'t Tree,
    builder: FsBuilder,
    /// Inodes that have a name already.
    handles: HashMap<InodeId, InodeHandle>,
}

/// A name that is still to be declared: the folder's inode, the name, the inode.
type Name<'t> = (InodeId, &'t [u8], InodeId);

impl<'t> Declaration<'t> {
    /// Declares all folders, and gathers what is in them.
    fn folders(&mut self, others: &mut Vec<Name<'t>>, cancel: &Cancel) -> Result<(), Ext4Error> {
        self.handles.insert(Tree::ROOT, mkext4::ROOT);
        self.metadata(Tree::ROOT, mkext4::ROOT)?;
        let mut open = vec![Tree::ROOT];
        while let Some(dir) = open.pop() {
            cancel.check()?;
            let Kind::Dir(names) = &self.tree.inode(dir).kind else { continue };
            for (name, id) in names {
                if matches!(self.tree.inode(*id).kind, Kind::Dir(_)) {
                    self.entry(dir, name, *id, None)?;
                    open.push(*id);
                } else {
                    others.push((dir, name, *id));
                }
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        dir: InodeId,
        name: &[u8],
        id: InodeId,
        known: Option<InodeHandle>,
    ) -> Result<InodeHandle, Ext4Error> {
        let text = std::str::from_utf8(name).map_err(|_| Ext4Error::NotUtf8 { path: self.path(dir, name) })?;
        let parent = self.handles.get(&dir).copied().unwrap_or(mkext4::ROOT);
        let done = match known {
            Some(handle) => self.builder.hardlink(parent, text, handle).map(|()| handle),
            None => self.inode(parent, text, dir, self.tree.inode(id))?,
        };
        let handle = done.map_err(|source| Ext4Error::Refused { path: self.path(dir, name), source })?;
        if known.is_none() {
            self.handles.insert(id, handle);
            self.xattrs(&self.tree.inode(id).meta, handle)
                .map_err(|source| Ext4Error::Refused { path: self.path(dir, name), source })?;
        }
        Ok(handle)
    }

    fn inode(
        &mut self,
        parent: InodeHandle,
        name: &str,
        dir: InodeId,
        inode: &Inode,
    ) -> Result<mkext4::Result<InodeHandle>, Ext4Error> {
        let meta = convert(&inode.meta);
        Ok(match &inode.kind {
            Kind::Dir(_) => self.builder.mkdir(parent, name, meta),
            Kind::File(content) => match segments(content) {
                None => self.builder.file(parent, name, meta, content.size),
                Some(segments) => self.builder.file_sparse(parent, name, meta, &segments),
            },
            Kind::Symlink(target) => {
                let target = std::str::from_utf8(target)
                    .map_err(|_| Ext4Error::NotUtf8Target { path: self.path(dir, name.as_bytes()) })?;
                self.builder.symlink(parent, name, target, meta)
            }
            Kind::Char { major, minor } => {
                self.builder.mknod(parent, name, meta, SpecialKind::Char { major: *major, minor: *minor })
            }
            Kind::Block { major, minor } => {
                self.builder.mknod(parent, name, meta, SpecialKind::Block { major: *major, minor: *minor })
            }
            Kind::Fifo => self.builder.mknod(parent, name, meta, SpecialKind::Fifo),
        })
    }

    fn metadata(&mut self, id: InodeId, handle: InodeHandle) -> Result<(), Ext4Error> {
        let meta = &self.tree.inode(id).meta;
        self.builder
            .set_meta(handle, convert(meta))
            .and_then(|()| self.xattrs(meta, handle))
            .map_err(|source| Ext4Error::Refused { path: "/".into(), source })
    }

    fn xattrs(&mut self, meta: &Meta, handle: InodeHandle) -> mkext4::Result<()> {
        let size: usize = meta.xattrs.iter().map(|(name, value)| name.len() + value.len() + XATTR_ENTRY).sum();
        if size > MAX_XATTRS {
            return Err(mkext4::Error::Invalid(format!("it has {size} bytes of attributes, more than {MAX_XATTRS}")));
        }
        for (name, value) in &meta.xattrs {
            let acl = name.starts_with("system.posix_acl_").then(|| acl::to_disk(value)).flatten();
            self.builder.set_xattr(handle, name, acl.as_deref().unwrap_or(value))?;
        }
        Ok(())
    }

    /// For errors only: finds the folder by search.
    fn path(&self, dir: InodeId, name: &[u8]) -> String {
        let mut parts = vec![name];
        let mut child = dir;
        while child != Tree::ROOT {
            let holder = self.tree.inodes().find_map(|(id, inode)| match &inode.kind {
                Kind::Dir(names) => names.iter().find(|(_, c)| **c == child).map(|(name, _)| (id, &**name)),
                _ => None,
            });
            let Some((id, name)) = holder else { break };
            parts.push(name);
            child = id;
        }
        parts.iter().rev().map(|part| format!("/{}", part.escape_ascii())).collect()
    }
}

/// Data and holes in turn; none if there are no holes.
fn segments(content: &Content) -> Option<Vec<SparseSeg>> {
    let mut segments = Vec::with_capacity(2 * content.pieces.len() + 1);
    let mut end = 0;
    let mut holes = false;
    let mut hole = |segments: &mut Vec<SparseSeg>, length: u64| {
        if length > 0 {
            segments.push(SparseSeg::Hole(length));
            holes = true;
        }
    };
    for piece in &content.pieces {
        hole(&mut segments, piece.offset - end);
        segments.push(SparseSeg::Data(piece.length));
        end = piece.offset + piece.length;
    }
    hole(&mut segments, content.size - end);
    holes.then_some(segments)
}

/// Moments that ext4 cannot express become the nearest that it can.
fn convert(meta: &Meta) -> mkext4::Meta {
    const FIRST: i64 = -(1 << 31);
    const LAST: i64 = (3 << 32) + (1 << 31) - 1;
    let time = (meta.mtime.seconds.clamp(FIRST, LAST), meta.mtime.nanos.min(999_999_999));
    mkext4::Meta::new(meta.mode & 0o7777, meta.uid, meta.gid, time)
}
