//! The files beside the modules, by which they are found.
//!
//! Owns: the content of `modules.dep` and its kin, as `depmod` writes them. Must not: read or write files itself.

use super::graph::{Module, ModuleSet};
use super::trie::Index;
use std::fmt::Write;

/// The most modules an index can number.
const MAX_MODULES: usize = 65_535;

/// What the kernel's build says of the modules that are part of the kernel itself.
#[derive(Debug, Default)]
pub(crate) struct Builtin<'a> {
    /// `modules.builtin`: one path a line.
    pub(crate) paths: &'a str,
    /// `modules.builtin.modinfo`: NUL-terminated `NAME.KEY=VALUE`.
    pub(crate) modinfo: &'a [u8],
}

/// More modules or names than the index formats have room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the module tree is too large to index")]
pub struct IndexTooLarge;

/// The files' names and contents.
pub(crate) fn index_files(
    set: &ModuleSet,
    builtin: &Builtin<'_>,
) -> Result<Vec<(&'static str, Vec<u8>)>, IndexTooLarge> {
    if set.modules().len() > MAX_MODULES {
        return Err(IndexTooLarge);
    }
    let (dep, dep_bin) = dependencies(set);
    let (alias, alias_bin) = aliases(set);
    let (symbols, symbols_bin) = symbols(set);
    let softdep =
        lines(set, "# Soft dependencies extracted from modules themselves.\n", "softdep", |m| &m.info.softdeps);
    let weakdep =
        lines(set, "# Weak dependencies extracted from modules themselves.\n", "weakdep", |m| &m.info.weakdeps);
    let mut files: Vec<(&'static str, Vec<u8>)> = vec![
        ("modules.dep", dep.into_bytes()),
        ("modules.alias", alias.into_bytes()),
        ("modules.symbols", symbols.into_bytes()),
        ("modules.softdep", softdep.into_bytes()),
        ("modules.weakdep", weakdep.into_bytes()),
        ("modules.devname", devnames(set).into_bytes()),
    ];
    for (name, index) in [
        ("modules.dep.bin", dep_bin),
        ("modules.alias.bin", alias_bin),
        ("modules.symbols.bin", symbols_bin),
        ("modules.builtin.bin", builtin_names(builtin)),
        ("modules.builtin.alias.bin", builtin_aliases(builtin)),
    ] {
        files.push((name, index.into_bytes().ok_or(IndexTooLarge)?));
    }
    Ok(files)
}

/// The modules with their numbers, by which the index orders those that share a name.
fn numbered(set: &ModuleSet) -> impl Iterator<Item = (u32, &Module)> {
    (0..).zip(set.modules())
}

fn dependencies(set: &ModuleSet) -> (String, Index) {
    let (mut text, mut index) = (String::new(), Index::default());
    for (number, module) in numbered(set) {
        let mut line = format!("{}:", module.path);
        for needed in set.needs(module) {
            line.push(' ');
            line.push_str(&needed.path);
        }
        index.insert(&module.name, &line, number);
        text.push_str(&line);
        text.push('\n');
    }
    (text, index)
}

fn aliases(set: &ModuleSet) -> (String, Index) {
    let (mut text, mut index) = (String::from("# Aliases extracted from modules themselves.\n"), Index::default());
    for (number, module) in numbered(set) {
        for alias in &module.info.aliases {
            let _ = writeln!(text, "alias {alias} {}", module.name);
            if let Some(alias) = normalized(alias) {
                index.insert(&alias, &module.name, number);
            }
        }
    }
    (text, index)
}

fn symbols(set: &ModuleSet) -> (String, Index) {
    let (mut text, mut index) = (String::from("# Aliases for symbols, used by symbol_request().\n"), Index::default());
    for (number, module) in numbered(set) {
        for symbol in &module.info.exports {
            let _ = writeln!(text, "alias symbol:{symbol} {}", module.name);
            index.insert(&format!("symbol:{symbol}"), &module.name, number);
        }
    }
    (text, index)
}

fn lines(set: &ModuleSet, head: &str, word: &str, values: impl Fn(&Module) -> &Vec<String>) -> String {
    let mut text = head.to_owned();
    for module in set.modules() {
        for value in values(module) {
            let _ = writeln!(text, "{word} {} {value}", module.name);
        }
    }
    text
}

/// The device nodes that may be made before their module is loaded: those whose module names both the node and its numbers.
fn devnames(set: &ModuleSet) -> String {
    let mut text = String::from("# Device nodes to trigger on-demand module loading.\n");
    for module in set.modules() {
        let find = |prefix: &str| module.info.aliases.iter().find_map(|alias| alias.strip_prefix(prefix));
        let numbers = |prefix: &str| {
            let (major, minor) = find(prefix)?.split_once('-')?;
            Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
        };
        let kind = |prefix, letter| numbers(prefix).map(|(major, minor)| (letter, major, minor));
        let device = kind("char-major-", 'c').or_else(|| kind("block-major-", 'b'));
        if let (Some(node), Some((letter, major, minor))) = (find("devname:"), device) {
            let _ = writeln!(text, "{} {node} {letter}{major}:{minor}", module.name);
        }
    }
    text
}

fn builtin_names(builtin: &Builtin<'_>) -> Index {
    let mut index = Index::default();
    for name in builtin.paths.lines().filter_map(super::module_name) {
        index.insert(&name, "", 0);
    }
    index
}

fn builtin_aliases(builtin: &Builtin<'_>) -> Index {
    let mut index = Index::default();
    for entry in builtin.modinfo.split(|b| *b == 0).filter_map(|entry| std::str::from_utf8(entry).ok()) {
        if let Some((key, alias)) = entry.split_once('=')
            && let Some((module, "alias")) = key.split_once('.')
            && let Some(alias) = normalized(alias)
        {
            index.insert(&alias, module, 0);
        }
    }
    index
}

/// An alias as it is looked up: hyphens are underscores, but not between brackets. `None` if a bracket lacks its partner.
fn normalized(alias: &str) -> Option<String> {
    let mut inside = false;
    let text: String = alias
        .chars()
        .map(|c| match c {
            '[' => (!std::mem::replace(&mut inside, true)).then_some('['),
            ']' => std::mem::replace(&mut inside, false).then_some(']'),
            '-' if !inside => Some('_'),
            c => Some(c),
        })
        .collect::<Option<_>>()?;
    (!inside).then_some(text)
}
