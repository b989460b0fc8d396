//! Which module needs which.
//!
//! Owns: the set of a kernel's modules in the order of preference, and load orders. Must not: write formats.

use super::ModuleInfo;
use banger_model::wire::boot_module::VirtioType;
use std::collections::{BTreeSet, HashMap, HashSet};

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

    /// As [`Self::load_order`], each with the virtio devices for whose sake it is there; none for what is of use without.
    pub(crate) fn load_order_by_device<'a>(
        &self,
        wanted: impl IntoIterator<Item = &'a str> + Clone,
    ) -> Vec<(&Module, BTreeSet<VirtioType>)> {
        let mut devices: HashMap<&str, BTreeSet<VirtioType>> = HashMap::new();
        let mut always = HashSet::new();
        for root in wanted.clone().into_iter().map(super::canonical) {
            let order = self.load_order([root.as_str()]);
            let types = order.last().map(|root| root.info.virtio_types()).unwrap_or_default();
            for module in order {
                devices.entry(&module.name).or_default().extend(&types);
                if types.is_empty() {
                    always.insert(&module.name);
                }
            }
        }
        let devices_of = |module: &Module| match always.contains(&module.name) {
            true => BTreeSet::new(),
            false => devices.get(module.name.as_str()).cloned().unwrap_or_default(),
        };
        self.load_order(wanted).into_iter().map(|module| (module, devices_of(module))).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn module(path: &str, depends: &[&str], alias: &str) -> (String, ModuleInfo) {
        let depends = depends.iter().map(|name| (*name).to_owned()).collect();
        (path.to_owned(), ModuleInfo { depends, aliases: vec![alias.to_owned()], ..ModuleInfo::default() })
    }

    #[test]
    fn what_a_module_needs_is_for_its_devices_unless_it_is_of_use_without() {
        let set = ModuleSet::new(
            vec![
                module("virtio.ko", &[], ""),
                module("virtio-mmio.ko", &["virtio"], "acpi*:LNRO0005:*"),
                module("failover.ko", &[], ""),
                module("virtio_net.ko", &["virtio", "failover"], "virtio:d00000001v*"),
                module("vsock.ko", &[], "net-pf-40"),
                module("transport.ko", &["vsock", "failover"], "virtio:d00000013v*"),
            ],
            "",
        );
        let order = set.load_order_by_device(["virtio_mmio", "virtio_net", "transport", "built_in"]);
        let order: Vec<_> =
            order.iter().map(|(module, devices)| (module.name.as_str(), devices.iter().copied().collect())).collect();
        let expected: [(&str, Vec<VirtioType>); 6] = [
            ("virtio", vec![]),
            ("virtio_mmio", vec![]),
            ("failover", vec![1, 19]),
            ("virtio_net", vec![1]),
            ("vsock", vec![19]),
            ("transport", vec![19]),
        ];
        assert_eq!(order, expected);
    }
}
