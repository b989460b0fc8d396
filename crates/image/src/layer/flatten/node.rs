//! The names that are left so far, and what hides lower layers' names.
//!
//! Owns: what happens when a name meets another one. Every operation names the layer it belongs to, and gives the same result
//! in whatever order layers come.

use super::link::LeafId;
use super::path::{Name, Path};
use super::{OPAQUE, Op, What};
use crate::ext4::{Kind, Meta};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// A folder or a further name of a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NodeId(u32);

impl NodeId {
    pub(super) const ROOT: Self = Self(0);
}

/// What a name stands for that is no folder. The kind is missing until contents are filled in.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) meta: Meta,
    pub(super) kind: Option<Kind>,
}

#[derive(Debug, Default)]
struct Slot {
    leaf: Option<Leaf>,
    /// How many names it has.
    names: u32,
    /// The one that it turned out to be.
    alias: Option<LeafId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Child {
    Dir(NodeId),
    Leaf { id: LeafId, layer: u32 },
}

#[derive(Debug, Default)]
pub(super) struct Dir {
    /// The highest layer that has an entry for the folder itself, and what it says. None if names below are all that is known.
    pub(super) defined: Option<(u32, Meta)>,
    pub(super) names: BTreeMap<Name, Child>,
    /// Names of lower layers than this are hidden.
    opaque: u32,
    /// The same for single names.
    hidden: BTreeMap<Name, u32>,
}

#[derive(Debug)]
pub(super) struct Nodes {
    dirs: Vec<Dir>,
    slots: Vec<Slot>,
    names: usize,
}

impl Nodes {
    pub(super) fn new() -> Self {
        Self { dirs: vec![Dir::default()], slots: Vec::new(), names: 0 }
    }

    /// How many names there ever were.
    pub(super) fn len(&self) -> usize {
        self.names
    }

    pub(super) fn dir(&self, id: NodeId) -> &Dir {
        &self.dirs[id.0 as usize]
    }

    pub(super) fn dir_mut(&mut self, id: NodeId) -> &mut Dir {
        &mut self.dirs[id.0 as usize]
    }

    /// A leaf about which nothing is known yet.
    pub(super) fn reserve(&mut self) -> LeafId {
        self.slots.push(Slot::default());
        LeafId(u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX))
    }

    fn slot(&mut self, id: LeafId) -> &mut Slot {
        &mut self.slots[id.0 as usize]
    }

    pub(super) fn describe(&mut self, id: LeafId, leaf: Leaf) {
        self.slot(id).leaf = Some(leaf);
    }

    pub(super) fn fill(&mut self, id: LeafId, kind: Kind) {
        if let Some(leaf) = &mut self.slot(id).leaf {
            leaf.kind = Some(kind);
        }
    }

    pub(super) fn is_used(&self, id: LeafId) -> bool {
        self.slots[id.0 as usize].names > 0
    }

    /// From now on `id` means the same as `other`.
    pub(super) fn unite(&mut self, id: LeafId, other: LeafId) {
        let (id, other) = (self.canonical(id), self.canonical(other));
        if id != other {
            self.slot(id).alias = Some(other);
        }
    }

    /// What `id` means.
    pub(super) fn canonical(&self, mut id: LeafId) -> LeafId {
        while let Some(other) = self.slots[id.0 as usize].alias {
            id = other;
        }
        id
    }

    /// Takes a leaf out; none if it was taken before, or is not known.
    pub(super) fn take_leaf(&mut self, id: LeafId) -> Option<Leaf> {
        self.slot(id).leaf.take()
    }

    fn is_covered(&self, dir: NodeId, name: &[u8], layer: u32) -> bool {
        let dir = self.dir(dir);
        dir.opaque > layer || dir.hidden.get(name).is_some_and(|hidden| *hidden > layer)
    }

    /// Whatever a name was below `layer`, it was replaced or removed there.
    fn cover(&mut self, dir: NodeId, name: &[u8], layer: u32) {
        let hidden = self.dir_mut(dir).hidden.entry(name.into()).or_default();
        *hidden = (*hidden).max(layer);
    }

    /// Whether upper layers hide a name, unless they have a folder there.
    pub(super) fn is_hidden(&self, dir: NodeId, name: &[u8], layer: u32) -> bool {
        self.is_covered(dir, name, layer)
            || matches!(self.dir(dir).names.get(name), Some(Child::Leaf { layer: upper, .. }) if *upper > layer)
    }

    /// What a name means, if it comes from `layer` or one below it.
    pub(super) fn leaf(&self, dir: NodeId, name: &[u8], layer: u32) -> Option<LeafId> {
        match self.dir(dir).names.get(name)? {
            Child::Leaf { id, layer: found } if *found <= layer => Some(*id),
            _ => None,
        }
    }

    /// Whether `layer` itself says that the name is a folder.
    pub(super) fn is_folder_of(&self, dir: NodeId, name: &[u8], layer: u32) -> bool {
        let Some(Child::Dir(id)) = self.dir(dir).names.get(name) else { return false };
        self.dir(*id).defined.as_ref().is_some_and(|(known, _)| *known == layer)
    }

    /// Where a symbolic link leads, if there is one and `layer` sees it.
    pub(super) fn symlink(&self, dir: NodeId, name: &[u8], layer: u32) -> Option<Box<[u8]>> {
        let id = self.leaf(dir, name, layer).filter(|_| !self.is_covered(dir, name, layer))?;
        match &self.slots[self.canonical(id).0 as usize].leaf.as_ref()?.kind {
            Some(Kind::Symlink(target)) => Some(target.clone()),
            _ => None,
        }
    }

    /// The folder of that name if there is one, or could be one: made if nothing is known of the name. None if something else
    /// has it, or upper layers hide it.
    pub(super) fn folder_if_any(&mut self, dir: NodeId, name: &[u8], layer: u32) -> Option<NodeId> {
        match self.dir(dir).names.get(name) {
            Some(Child::Leaf { .. }) => None,
            _ => self.folder(dir, name, layer),
        }
    }

    /// The folder of that name, made if need be, also in place of something else; none if upper layers hide it.
    pub(super) fn folder(&mut self, dir: NodeId, name: &[u8], layer: u32) -> Option<NodeId> {
        if self.is_hidden(dir, name, layer) {
            return None;
        }
        match self.dir(dir).names.get(name).copied() {
            Some(Child::Dir(id)) => return Some(id),
            Some(Child::Leaf { id, layer }) => {
                self.slot(id).names -= 1;
                self.cover(dir, name, layer);
            }
            None => {}
        }
        let id = NodeId(u32::try_from(self.dirs.len()).unwrap_or(u32::MAX));
        self.dirs.push(Dir::default());
        self.names += 1;
        self.dir_mut(dir).names.insert(name.into(), Child::Dir(id));
        Some(id)
    }

    /// Says what a folder is like; the highest layer's word counts.
    pub(super) fn define(&mut self, id: NodeId, layer: u32, meta: Meta) {
        let defined = &mut self.dir_mut(id).defined;
        if defined.as_ref().is_none_or(|(known, _)| *known <= layer) {
            *defined = Some((layer, meta));
        }
    }

    /// Hides everything in a folder that comes from below `layer`.
    pub(super) fn make_opaque(&mut self, id: NodeId, layer: u32) {
        let dir = self.dir_mut(id);
        dir.opaque = dir.opaque.max(layer);
        self.strip_names(id, layer);
    }

    /// Hides a name as far as it comes from below `layer`.
    pub(super) fn hide(&mut self, dir: NodeId, name: &[u8], layer: u32) {
        self.cover(dir, name, layer);
        match self.dir(dir).names.get(name) {
            Some(Child::Leaf { id, layer: found }) if *found < layer => {
                let id = *id;
                self.slot(id).names -= 1;
                self.dir_mut(dir).names.remove(name);
            }
            Some(Child::Dir(id)) => self.strip(*id, layer),
            _ => {}
        }
    }

    /// Gives a leaf a name. A folder that only upper layers' names imply makes way for a symbolic link: it is returned, and its
    /// names belong where the link leads.
    pub(super) fn put(&mut self, dir: NodeId, name: &[u8], layer: u32, leaf: LeafId) -> Option<NodeId> {
        if self.is_hidden(dir, name, layer) {
            return None;
        }
        let mut moved = None;
        if let Some(Child::Dir(id)) = self.dir(dir).names.get(name).copied() {
            self.strip(id, layer + 1);
            let slot = &self.slots[self.canonical(leaf).0 as usize];
            let is_symlink = matches!(slot.leaf, Some(Leaf { kind: Some(Kind::Symlink(_)), .. }));
            let is_defined = self.dir(id).defined.is_some();
            if is_symlink && !is_defined {
                moved = Some(id);
            } else if is_defined || self.has_content(id) {
                // The upper folder replaces the leaf.
                self.cover(dir, name, layer);
                return None;
            }
        }
        self.names += 1;
        self.slot(leaf).names += 1;
        match self.dir_mut(dir).names.entry(name.into()) {
            Entry::Vacant(vacant) => {
                vacant.insert(Child::Leaf { id: leaf, layer });
            }
            Entry::Occupied(mut occupied) => {
                if let Child::Leaf { id, .. } = occupied.insert(Child::Leaf { id: leaf, layer }) {
                    self.slot(id).names -= 1;
                }
            }
        }
        moved
    }

    /// Removes from a folder, and from the folder's own description, what comes from below `layer`.
    fn strip(&mut self, id: NodeId, layer: u32) {
        self.dir_mut(id).defined.take_if(|(known, _)| *known < layer);
        self.strip_names(id, layer);
    }

    fn strip_names(&mut self, id: NodeId, layer: u32) {
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            let mut names = std::mem::take(&mut self.dir_mut(id).names);
            names.retain(|_, child| match *child {
                Child::Dir(inner) => {
                    self.dir_mut(inner).defined.take_if(|(known, _)| *known < layer);
                    open.push(inner);
                    true
                }
                Child::Leaf { id, layer: found } => {
                    let stays = found >= layer;
                    self.slot(id).names -= u32::from(!stays);
                    stays
                }
            });
            self.dir_mut(id).names = names;
        }
    }

    /// Whether there is anything below a folder but folders that nobody defined.
    fn has_content(&self, id: NodeId) -> bool {
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            for child in self.dir(id).names.values() {
                match child {
                    Child::Leaf { .. } => return true,
                    Child::Dir(inner) if self.dir(*inner).defined.is_some() => return true,
                    Child::Dir(inner) => open.push(*inner),
                }
            }
        }
        false
    }

    /// Empties a folder that stood at `path`: all that layers above `layer` said about it, to be said again.
    pub(super) fn take_apart(&mut self, id: NodeId, path: &Path, layer: u32) -> Vec<Op> {
        let mut ops = Vec::new();
        let mut open = vec![(id, path.clone())];
        while let Some((id, path)) = open.pop() {
            let below = |name: Name| path.iter().cloned().chain([name]).collect::<Path>();
            let Dir { defined, names, opaque, hidden } = std::mem::take(self.dir_mut(id));
            if let Some((layer, meta)) = defined {
                ops.push(Op { layer, path: path.clone(), what: What::Dir(meta) });
            }
            if opaque > layer {
                ops.push(Op { layer: opaque, path: below(OPAQUE.into()), what: What::Opaque });
            }
            let hidden = hidden.into_iter().filter(|(_, hidden)| *hidden > layer);
            ops.extend(hidden.map(|(name, layer)| Op { layer, path: below(name), what: What::Whiteout }));
            for (name, child) in names {
                match child {
                    Child::Dir(inner) => open.push((inner, below(name))),
                    Child::Leaf { id, layer } => {
                        self.slot(id).names -= 1;
                        ops.push(Op { layer, path: below(name), what: What::Leaf(id) });
                    }
                }
            }
        }
        ops
    }
}
