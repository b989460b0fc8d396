//! Many layers seen as one: what is left of each when those above are laid over it.
//!
//! Owns: the rules of OCI layers (a name of an upper layer replaces a lower one's, folders merge, `.wh.NAME` removes,
//! `.wh..wh..opq` removes all) applied from the top layer down, so that what an upper layer hides is known before the lower
//! one is read, and never written. Must not: read or write anything; contents are somebody else's, and only filled in.
//!
//! A layer's paths mean what they meant to who unpacked the layers from the bottom up: symbolic links in them are followed
//! inside the root. Going down, a link of a lower layer comes to light after names were put where it stands; they move to
//! where it leads then. Every name therefore keeps the number of its layer, and may arrive in any order.

mod error;
mod link;
mod node;
mod path;
mod tree;

#[cfg(test)]
mod model;

pub use error::{FlattenError, FlattenFault};
pub use link::LeafId;

use super::tar::{Entry, EntryKind};
use crate::ext4::{Kind, Meta, Tree};
use link::Links;
use node::{Leaf, NodeId, Nodes};
use path::{Name, Path};
use std::collections::{HashMap, VecDeque};

/// Begins the names that say what is no longer there. Image layer specification, "Whiteouts".
const WHITEOUT: &[u8] = b".wh.";
/// Says that nothing of the folder below is there any more.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Begins the names that AUFS kept for itself.
const AUFS: &[u8] = b".wh..wh.";
/// The most symbolic links on one path: Linux's own limit.
const MAX_LINKS: usize = 40;
/// The most names in an image.
const MAX_NAMES: usize = 8_000_000;

/// What is to be done with an entry's contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Give them to [`Flatten::fill`] with this.
    Take(LeafId),
    /// Nothing: there are none, or nobody will ever see them.
    Skip,
}

/// The layers so far.
#[derive(Debug)]
pub struct Flatten {
    nodes: Nodes,
    links: Links,
    /// The current layer's number; 0 is the lowest.
    layer: u32,
    /// Entries of the current layer so far.
    count: u64,
    /// Symbolic links of the current layer, seen or hidden, and where they lead.
    symlinks: HashMap<Vec<u8>, Box<[u8]>>,
}

/// Something that a layer says about one name.
#[derive(Debug)]
struct Op {
    layer: u32,
    /// From the root down. Symbolic links on the way are followed, the last name is what is meant.
    path: Path,
    what: What,
}

#[derive(Debug)]
enum What {
    Dir(Meta),
    Leaf(LeafId),
    Whiteout,
    /// Of the folder that has the last name.
    Opaque,
}

/// Where a path leads.
struct Place {
    /// The folder that has the last name; none if an upper layer hides it.
    dir: Option<NodeId>,
    /// The whole path without symbolic links, but for the last name.
    path: Path,
}

impl Flatten {
    /// Before the first layer.
    pub fn new() -> Self {
        Self { nodes: Nodes::new(), links: Links::default(), layer: u32::MAX, count: 0, symlinks: HashMap::new() }
    }

    /// Begins a layer. Layers come from the top down: each number is less than the one before.
    pub fn begin_layer(&mut self, number: u32) {
        self.layer = number;
        self.count = 0;
        self.symlinks.clear();
        self.links.begin_layer();
    }

    /// Takes an entry of the current layer.
    ///
    /// # Errors
    /// When it cannot be part of a file system.
    pub fn entry(&mut self, entry: Entry) -> Result<Verdict, FlattenError> {
        let ordinal = self.count;
        self.count += 1;
        let mut path = path::names(&entry.path)?;
        let fault = |fault| FlattenError { path: entry.path.escape_ascii().to_string(), fault };
        if self.nodes.len() > MAX_NAMES {
            return Err(fault(FlattenFault::TooMany { limit: MAX_NAMES }));
        }
        let layer = self.layer;
        if let Some(hidden) = path.last().and_then(|name| name.strip_prefix(WHITEOUT)) {
            let what = match path.last().map(|name| &**name) {
                Some(OPAQUE) => What::Opaque,
                Some(name) if name.starts_with(AUFS) => return Ok(Verdict::Skip),
                _ if matches!(hidden, b"" | b"." | b"..") => return Err(fault(FlattenFault::Whiteout)),
                _ => {
                    let hidden = hidden.into();
                    path.pop();
                    path.push(hidden);
                    What::Whiteout
                }
            };
            self.apply(Op { layer, path, what })?;
            return Ok(Verdict::Skip);
        }
        let kind = match entry.kind {
            EntryKind::Dir => {
                self.apply(Op { layer, path, what: What::Dir(entry.meta) })?;
                return Ok(Verdict::Skip);
            }
            EntryKind::Link(target) => {
                self.hard_link(path, &target)?;
                return Ok(Verdict::Skip);
            }
            _ if path.is_empty() => return Ok(Verdict::Skip),
            kind => leaf_kind(kind),
        };
        self.leaf(path, entry.meta, kind, ordinal)
    }

    /// A name that is neither folder nor hard link; no kind means a regular file.
    fn leaf(&mut self, path: Path, meta: Meta, kind: Option<Kind>, ordinal: u64) -> Result<Verdict, FlattenError> {
        let place = self.walk(self.layer, &path)?;
        let key = path::key(&place.path);
        let is_file = kind.is_none();
        self.symlinks.remove(&key);
        if let Some(Kind::Symlink(target)) = &kind {
            self.symlinks.insert(key.clone(), target.clone());
            self.redirect(&place.path)?;
        }
        // A hard link of an upper layer may lead here, wherever else this name is hidden.
        let wanted = self.take_pending(&key);
        let id = match wanted {
            Some(id) => id,
            None if self.is_hidden(&place) => {
                self.links.skipped(key, ordinal);
                return Ok(Verdict::Skip);
            }
            None => self.nodes.reserve(),
        };
        self.nodes.describe(id, Leaf { meta, kind });
        let layer = self.layer;
        self.apply(Op { layer, path: place.path, what: What::Leaf(id) })?;
        if wanted.is_none() && !self.nodes.is_used(id) {
            self.links.skipped(key, ordinal);
            return Ok(Verdict::Skip);
        }
        Ok(if is_file { Verdict::Take(id) } else { Verdict::Skip })
    }

    /// Whether a name at `place` cannot be seen, whatever it is. The cheap part of what [`Self::apply`] finds out.
    fn is_hidden(&self, place: &Place) -> bool {
        match (place.dir, place.path.last()) {
            (Some(dir), Some(name)) => self.nodes.is_hidden(dir, name, self.layer),
            _ => true,
        }
    }

    /// Gives a file its contents.
    pub fn fill(&mut self, id: LeafId, kind: Kind) {
        self.nodes.fill(id, kind);
    }

    /// After a layer: which of its entries, counted from 0, are needed all the same, because hard links that are seen lead to
    /// names that are hidden. They must be read once more, and given to [`Self::entry_again`].
    pub fn missed(&mut self) -> HashMap<u64, LeafId> {
        self.links.missed()
    }

    /// Takes an entry that was missed.
    pub fn entry_again(&mut self, id: LeafId, entry: Entry) -> Verdict {
        let kind = leaf_kind(entry.kind);
        let verdict = if kind.is_none() { Verdict::Take(id) } else { Verdict::Skip };
        self.nodes.describe(id, Leaf { meta: entry.meta, kind });
        verdict
    }

    /// The file system that all layers make together.
    ///
    /// # Errors
    /// When a hard link leads nowhere.
    pub fn finish(self) -> Result<Tree, FlattenError> {
        if let Some((target, link)) = self.links.first_pending() {
            let target = format!("/{}", target.escape_ascii());
            return Err(FlattenError { path: link.to_owned(), fault: FlattenFault::NoTarget { target } });
        }
        tree::tree(self.nodes)
    }

    /// Does what a layer says, and what follows from it.
    fn apply(&mut self, op: Op) -> Result<(), FlattenError> {
        let mut todo = VecDeque::from([op]);
        while let Some(Op { layer, path, what }) = todo.pop_front() {
            let place = match what {
                What::Dir(_) | What::Leaf(_) => self.walk(layer, &path)?,
                What::Whiteout | What::Opaque => self.look(layer, &path)?,
            };
            let Some(dir) = place.dir else { continue };
            let Some(name) = place.path.last() else {
                if let What::Dir(meta) = what {
                    self.nodes.define(NodeId::ROOT, layer, meta);
                }
                continue;
            };
            match what {
                What::Dir(meta) => {
                    if let Some(id) = self.nodes.folder(dir, name, layer) {
                        self.nodes.define(id, layer, meta);
                    }
                }
                What::Opaque => self.nodes.make_opaque(dir, layer),
                What::Whiteout => self.nodes.hide(dir, name, layer),
                What::Leaf(leaf) => {
                    if let Some(moved) = self.nodes.put(dir, name, layer, leaf) {
                        // The folder that stood here was meant to be below what this link leads to.
                        todo.extend(self.nodes.take_apart(moved, &place.path, layer));
                    }
                }
            }
        }
        Ok(())
    }

    /// Follows a path as a layer means it, making folders that nobody defined yet, for a name that is to be there.
    fn walk(&mut self, layer: u32, path: &[Name]) -> Result<Place, FlattenError> {
        self.follow(layer, path, Nodes::folder)
    }

    /// The same for a name that is there, or not.
    fn look(&mut self, layer: u32, path: &[Name]) -> Result<Place, FlattenError> {
        self.follow(layer, path, Nodes::folder_if_any)
    }

    fn follow(
        &mut self,
        layer: u32,
        path: &[Name],
        folder: impl Fn(&mut Nodes, NodeId, &[u8], u32) -> Option<NodeId>,
    ) -> Result<Place, FlattenError> {
        let fault = |fault| FlattenError { path: path::shown(path), fault };
        let Some((last, parents)) = path.split_last() else {
            return Ok(Place { dir: Some(NodeId::ROOT), path: Path::new() });
        };
        let mut ahead: VecDeque<Name> = parents.iter().cloned().collect();
        let mut behind: Vec<(Name, Option<NodeId>)> = Vec::with_capacity(path.len());
        let mut links = 0;
        while let Some(name) = ahead.pop_front() {
            if &*name == b".." {
                behind.pop();
                continue;
            }
            let dir = behind.last().map_or(Some(NodeId::ROOT), |(_, id)| *id);
            let seen = dir.and_then(|dir| self.nodes.symlink(dir, &name, layer));
            let target = match seen {
                Some(target) => Some(target),
                None if layer == self.layer && !self.symlinks.is_empty() => {
                    let names: Path = behind.iter().map(|(name, _)| name.clone()).chain([name.clone()]).collect();
                    self.symlinks.get(&path::key(&names)).cloned()
                }
                None => None,
            };
            if let Some(target) = target {
                links += 1;
                if links > MAX_LINKS {
                    return Err(fault(FlattenFault::Loop));
                }
                if path::expand(&target, &mut ahead) {
                    behind.clear();
                }
                continue;
            }
            let next = dir.and_then(|dir| folder(&mut self.nodes, dir, &name, layer));
            behind.push((name, next));
            if behind.len() + ahead.len() > 2 * path.len() + 4096 {
                return Err(fault(FlattenFault::TooDeep));
            }
        }
        let dir = behind.last().map_or(Some(NodeId::ROOT), |(_, id)| *id);
        let path = behind.into_iter().map(|(name, _)| name).chain([last.clone()]).collect();
        Ok(Place { dir, path })
    }
}

/// What a leaf is, if the entry alone says so: a file needs contents.
fn leaf_kind(kind: EntryKind) -> Option<Kind> {
    match kind {
        EntryKind::Symlink(target) => Some(Kind::Symlink(target.into())),
        EntryKind::Char { major, minor } => Some(Kind::Char { major, minor }),
        EntryKind::Block { major, minor } => Some(Kind::Block { major, minor }),
        EntryKind::Fifo => Some(Kind::Fifo),
        EntryKind::File(_) | EntryKind::Dir | EntryKind::Link(_) => None,
    }
}

impl Default for Flatten {
    fn default() -> Self {
        Self::new()
    }
}
