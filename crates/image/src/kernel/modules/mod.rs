//! A kernel's module tree, described so that `modprobe` finds everything in it.
//!
//! Owns: what `depmod` does (Debian's packages come without its output): reading every module, working out who needs whom,
//! and writing `modules.dep`, `modules.alias` and their kin, as text for busybox and as binary index for kmod. Must not:
//! need `depmod` on the host, or touch files: contents come in and go out as bytes.

mod graph;
mod index;
mod modinfo;
mod trie;

pub(crate) use graph::ModuleSet;
pub use index::IndexTooLarge;
pub(crate) use index::{Builtin, index_files};
pub(crate) use modinfo::ModuleInfo;
pub use modinfo::ModuleInfoError;

/// The spelling under which modules are looked up: hyphens count as underscores.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

/// The name of the module in the file `path`, if it is one (`.ko`, perhaps compressed).
pub(crate) fn module_name(path: &str) -> Option<String> {
    let file = path.rsplit('/').next().unwrap_or(path);
    let (stem, rest) = file.split_once(".ko")?;
    (!stem.is_empty() && matches!(rest, "" | ".gz" | ".xz" | ".zst")).then(|| canonical(stem))
}
