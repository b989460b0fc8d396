//! Hard links: names whose inode is described elsewhere, perhaps in a lower layer, perhaps by a name that is hidden.

use super::path::{self, Name, Path};
use super::{Flatten, FlattenError, FlattenFault, Op, Place, What};
use std::collections::HashMap;

/// A file, link or device in [`Flatten`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeafId(pub(super) u32);

/// A leaf that has names, but whose description has not come yet.
#[derive(Debug)]
struct Pending {
    id: LeafId,
    /// The layer that has the link: only what lower ones have can be meant.
    layer: u32,
    /// One of the links, for errors.
    link: String,
}

/// What must be remembered about links and hidden names.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// By the path that links lead to; one for each layer that has such links.
    pending: HashMap<Vec<u8>, Vec<Pending>>,
    /// Names of the current layer that are hidden, and which entry has them.
    skipped: HashMap<Vec<u8>, u64>,
    /// The same for hard links, and where they lead.
    skipped_links: HashMap<Vec<u8>, Path>,
    /// Skipped entries that are needed all the same.
    missed: HashMap<u64, LeafId>,
}

impl Links {
    pub(super) fn begin_layer(&mut self) {
        self.skipped.clear();
        self.skipped_links.clear();
        self.missed.clear();
    }

    /// What links of layers above `layer` expect at a path.
    fn take_pending(&mut self, key: &[u8], layer: u32) -> Vec<LeafId> {
        let Some(pending) = self.pending.get_mut(key) else { return Vec::new() };
        let taken = pending.extract_if(.., |pending| pending.layer > layer).map(|pending| pending.id).collect();
        if pending.is_empty() {
            self.pending.remove(key);
        }
        taken
    }

    pub(super) fn skipped(&mut self, key: Vec<u8>, ordinal: u64) {
        self.skipped.insert(key, ordinal);
    }

    pub(super) fn missed(&mut self) -> HashMap<u64, LeafId> {
        std::mem::take(&mut self.missed)
    }

    /// A target that never came, and a link to it; the first by name.
    pub(super) fn first_pending(&self) -> Option<(&[u8], &str)> {
        let first = self.pending.iter().min_by_key(|(key, _)| *key);
        first.and_then(|(key, pending)| Some((key.as_slice(), pending.first()?.link.as_str())))
    }
}

impl Flatten {
    /// Takes a hard link of the current layer.
    pub(super) fn hard_link(&mut self, link: Path, target: &[u8]) -> Result<(), FlattenError> {
        let target = path::names(target)?;
        let place = self.walk(self.layer, &link)?;
        let key = path::key(&place.path);
        let target = self.look(self.layer, &target)?;
        if key == path::key(&target.path) {
            return Ok(());
        }
        self.symlinks.remove(&key);
        let wanted = self.take_pending(&key);
        if wanted.is_none() && self.is_hidden(&place) {
            self.links.skipped_links.insert(key, target.path);
            return Ok(());
        }
        let shown = path::shown(&link);
        let id = self.target(target, &shown)?;
        if let Some(wanted) = wanted {
            self.nodes.unite(wanted, id);
        }
        let layer = self.layer;
        self.apply(Op { layer, path: place.path, what: What::Leaf(id) })
    }

    /// What a hard link leads to, in the view of the current layer: known, skipped, or still to come.
    fn target(&mut self, target: Place, link: &str) -> Result<LeafId, FlattenError> {
        let Place { mut dir, path: mut names } = target;
        // A hidden link leads on. Each of them was there before the one that leads to it, but tars can be made by hand.
        for _ in 0..super::MAX_LINKS {
            let Some(next) = self.links.skipped_links.get(&path::key(&names)).cloned() else { break };
            Place { dir, path: names } = self.look(self.layer, &next)?;
        }
        let fault = |names: &[Name]| FlattenError {
            path: link.to_owned(),
            fault: FlattenFault::LinkToFolder { target: path::shown(names) },
        };
        let Some(name) = names.last() else { return Err(fault(&names)) };
        if let Some(dir) = dir {
            if let Some(id) = self.nodes.leaf(dir, name, self.layer) {
                return Ok(id);
            }
            if self.nodes.is_folder_of(dir, name, self.layer) {
                return Err(fault(&names));
            }
        }
        let key = path::key(&names);
        if let Some(ordinal) = self.links.skipped.get(&key) {
            let nodes = &mut self.nodes;
            return Ok(*self.links.missed.entry(*ordinal).or_insert_with(|| nodes.reserve()));
        }
        Ok(self.pend(key, link.to_owned(), self.layer))
    }

    fn pend(&mut self, key: Vec<u8>, link: String, layer: u32) -> LeafId {
        let pending = self.links.pending.entry(key).or_default();
        if let Some(known) = pending.iter().find(|pending| pending.layer == layer) {
            return known.id;
        }
        let id = self.nodes.reserve();
        pending.push(Pending { id, layer, link });
        id
    }

    /// What links of upper layers expect at a path of the current layer; they are one from now on.
    pub(super) fn take_pending(&mut self, key: &[u8]) -> Option<LeafId> {
        let wanted = self.links.take_pending(key, self.layer);
        let (first, others) = wanted.split_first()?;
        for other in others {
            self.nodes.unite(*other, *first);
        }
        Some(*first)
    }

    /// A symbolic link came to light at `path`: hard links of upper layers that lead through it lead elsewhere.
    pub(super) fn redirect(&mut self, path: &[Name]) -> Result<(), FlattenError> {
        if self.links.pending.is_empty() {
            return Ok(());
        }
        let mut prefix = path::key(path);
        prefix.push(b'/');
        let keys: Vec<Vec<u8>> = self.links.pending.keys().filter(|key| key.starts_with(&prefix)).cloned().collect();
        for key in keys {
            for Pending { id, layer, link } in self.links.pending.remove(&key).unwrap_or_default() {
                let names = path::names(&key)?;
                let place = self.look(self.layer, &names)?;
                // A link of this layer that came before means what was there before.
                let found = if layer > self.layer {
                    self.target(place, &link)?
                } else {
                    self.pend(path::key(&place.path), link, layer)
                };
                self.nodes.unite(id, found);
            }
        }
        Ok(())
    }
}
