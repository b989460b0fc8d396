//! From what is left of all layers to a tree for ext4.

use super::link::LeafId;
use super::node::{Child, Leaf, NodeId, Nodes};
use super::{FlattenError, FlattenFault};
use crate::ext4::{Inode, InodeId, Meta, Time, Tree};
use std::collections::HashMap;

/// What a folder is like that no layer describes.
fn default_meta() -> Meta {
    Meta::root(0o755, Time::default())
}

/// Makes the tree. Folders that nobody described and that have nothing in them were never meant.
pub(super) fn tree(mut nodes: Nodes) -> Result<Tree, FlattenError> {
    let order = folders(&nodes);
    prune(&mut nodes, &order);
    let mut tree = Tree::new(take_meta(&mut nodes, NodeId::ROOT));
    let mut leaves: HashMap<LeafId, InodeId> = HashMap::new();
    let mut open = vec![(NodeId::ROOT, Tree::ROOT)];
    while let Some((node, dir)) = open.pop() {
        for (name, child) in std::mem::take(&mut nodes.dir_mut(node).names) {
            match child {
                Child::Dir(inner) => {
                    let meta = take_meta(&mut nodes, inner);
                    open.push((inner, tree.dir(dir, &name, meta)));
                }
                Child::Leaf { id, .. } => {
                    let id = nodes.canonical(id);
                    if let Some(known) = leaves.get(&id) {
                        tree.link(dir, &name, *known);
                        continue;
                    }
                    let Some(Leaf { meta, kind: Some(kind) }) = nodes.take_leaf(id) else {
                        let target = "something that no layer describes".to_owned();
                        let path = name.escape_ascii().to_string();
                        return Err(FlattenError { path, fault: FlattenFault::NoTarget { target } });
                    };
                    leaves.insert(id, tree.add(dir, &name, Inode { meta, kind }));
                }
            }
        }
    }
    Ok(tree)
}

fn take_meta(nodes: &mut Nodes, id: NodeId) -> Meta {
    nodes.dir_mut(id).defined.take().map_or_else(default_meta, |(_, meta)| meta)
}

/// All folders that have a name, with the folder and name that lead there, each after the one that it is in.
fn folders(nodes: &Nodes) -> Vec<(NodeId, NodeId, Box<[u8]>)> {
    let mut found = Vec::new();
    let mut open = vec![NodeId::ROOT];
    while let Some(dir) = open.pop() {
        for (name, child) in &nodes.dir(dir).names {
            if let Child::Dir(inner) = child {
                found.push((*inner, dir, name.clone()));
                open.push(*inner);
            }
        }
    }
    found
}

fn prune(nodes: &mut Nodes, folders: &[(NodeId, NodeId, Box<[u8]>)]) {
    for (id, parent, name) in folders.iter().rev() {
        let dir = nodes.dir(*id);
        if dir.defined.is_none() && dir.names.is_empty() {
            nodes.dir_mut(*parent).names.remove(name);
        }
    }
}
