//! Which module needs which.
//!
//! Owns: the set of a kernel's modules in the order of preference, and load orders. Must not: write formats.

use super::ModuleInfo;
use std::collections::{HashMap, HashSet};

/// One module of the set.
#[derive(Debug)]
pub(crate) struct Module {
    /// The file, relative to the module tree, uncompressed: `kernel/fs/overlayfs/overlay.ko`.
    pub(crate) path: String,
    /// Its name with underscores.
    pub(crate) name: String,
    /// What it says of itself.
    pub(crate) info: ModuleInfo,
}

/// A kernel's modules, each name once, those that the kernel's build lists first in `modules.order` first.
#[derive(Debug, Default)]
pub(crate) struct ModuleSet {
    modules: Vec<Module>,
    by_name: HashMap<String, usize>,
}

impl ModuleSet {
    /// Orders `modules` by `order`, the content of `modules.order`. Of two of one name, one below `updates/` wins, as in
    /// depmod's own configuration; else the first in order of path.
    pub(crate) fn new(modules: Vec<(String, ModuleInfo)>, order: &str) -> Self {
        let rank: HashMap<&str, usize> = order.lines().enumerate().map(|(i, line)| (line, i)).collect();
        let mut modules: Vec<Module> = modules
            .into_iter()
            .filter_map(|(path, info)| Some(Module { name: super::module_name(&path)?, path, info }))
            .collect();
        modules.sort_by(|a, b| {
            (!a.path.starts_with("updates/"), &a.path).cmp(&(!b.path.starts_with("updates/"), &b.path))
        });
        let mut seen = HashSet::new();
        modules.retain(|module| seen.insert(module.name.clone()));
        modules.sort_by_key(|module| rank.get(module.path.as_str()).copied().unwrap_or(usize::MAX));
        let by_name = modules.iter().enumerate().map(|(i, module)| (module.name.clone(), i)).collect();
        Self { modules, by_name }
    }

    /// All of them.
    pub(crate) fn modules(&self) -> &[Module] {
        &self.modules
    }

    /// The modules to load, in this order, so that all of `wanted` are there. Names that no module has are left out: they
    /// are built into the kernel, or it lacks them.
    pub(crate) fn load_order<'a>(&self, wanted: impl IntoIterator<Item = &'a str>) -> Vec<&Module> {
        let roots = wanted.into_iter().filter_map(|name| self.by_name.get(&super::canonical(name)).copied());
        self.depth_first(roots).into_iter().map(|i| &self.modules[i]).collect()
    }

    /// What the module needs, directly or not, the nearest first and whatever has no needs last: the order in
    /// `modules.dep`, which `modprobe` loads from its end.
    pub(crate) fn needs(&self, module: &Module) -> Vec<&Module> {
        let mut order = self.load_order([module.name.as_str()]);
        order.pop();
        order.reverse();
        order
    }

    /// Everything reachable from `roots`, each after what it needs. A circle, which no real kernel has, is cut where it
    /// closes. Not recursive: the depth is the input's.
    fn depth_first(&self, roots: impl Iterator<Item = usize>) -> Vec<usize> {
        let mut order = Vec::new();
        let mut seen = HashSet::new();
        for root in roots {
            if !seen.insert(root) {
                continue;
            }
            let mut path = vec![(root, 0)];
            while let Some((module, next)) = path.last_mut() {
                let Some(name) = self.modules[*module].info.depends.get(*next) else {
                    order.push(*module);
                    path.pop();
                    continue;
                };
                *next += 1;
                if let Some(&needed) = self.by_name.get(name)
                    && seen.insert(needed)
                {
                    path.push((needed, 0));
                }
            }
        }
        order
    }
}
