//! What a module says of itself.
//!
//! Owns: reading the `.modinfo` section and the exported symbols of one `.ko` file. Must not: follow dependencies. Any bytes
//! are taken; what is no module is an error.

use banger_model::wire::boot_module::VirtioType;
use elf::ElfBytes;
use elf::endian::LittleEndian;
use std::collections::BTreeSet;

/// A module's own words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ModuleInfo {
    /// The kernel it was built for: the first word of its `vermagic`.
    pub(crate) release: Option<String>,
    /// Names of the modules whose symbols it uses, directly.
    pub(crate) depends: Vec<String>,
    /// Patterns of the devices and names it serves.
    pub(crate) aliases: Vec<String>,
    /// `pre: … post: …`.
    pub(crate) softdeps: Vec<String>,
    /// Modules that it may ask for.
    pub(crate) weakdeps: Vec<String>,
    /// Symbols that it offers to others.
    pub(crate) exports: Vec<String>,
}

/// Bytes that are no module.
#[derive(Debug, thiserror::Error)]
pub enum ModuleInfoError {
    /// Not readable as ELF.
    #[error("it is not an ELF file")]
    Elf(#[source] elf::ParseError),
    /// Some other ELF file.
    #[error("it is an ELF file, but no kernel module for x86-64")]
    NotModule,
}

impl ModuleInfo {
    /// Reads a module, uncompressed.
    pub(crate) fn parse(module: &[u8]) -> Result<Self, ModuleInfoError> {
        let elf = ElfBytes::<LittleEndian>::minimal_parse(module).map_err(ModuleInfoError::Elf)?;
        if elf.ehdr.e_machine != elf::abi::EM_X86_64 || elf.ehdr.e_type != elf::abi::ET_REL {
            return Err(ModuleInfoError::NotModule);
        }
        let section = |name: &str| -> Result<Option<&[u8]>, ModuleInfoError> {
            let Some(header) = elf.section_header_by_name(name).map_err(ModuleInfoError::Elf)? else { return Ok(None) };
            elf.section_data(&header).map(|(data, _)| Some(data)).map_err(ModuleInfoError::Elf)
        };
        let modinfo = section(".modinfo")?.ok_or(ModuleInfoError::NotModule)?;
        let mut info = Self::default();
        for (key, value) in pairs(modinfo) {
            match key {
                "depends" => info.depends = value.split(',').filter(|n| !n.is_empty()).map(super::canonical).collect(),
                "alias" => info.aliases.push(value.to_owned()),
                "softdep" => info.softdeps.push(value.to_owned()),
                "weakdep" => info.weakdeps.push(value.to_owned()),
                "vermagic" => info.release = value.split(' ').next().map(str::to_owned),
                _ => {}
            }
        }
        // With symbol versions every export has a checksum under its name. Without, the names themselves are there, but
        // mixed with those of symbol namespaces.
        info.exports = checksummed(&elf)?;
        if info.exports.is_empty() {
            info.exports = strings(section("__ksymtab_strings")?.unwrap_or_default()).map(str::to_owned).collect();
        }
        Ok(info)
    }

    /// The virtio devices it is a driver of: aliases as `virtio:d00000002v*` (the kernel's `scripts/mod/file2alias.c`).
    pub(crate) fn virtio_types(&self) -> BTreeSet<VirtioType> {
        let device = |alias: &String| {
            let (device, _vendor) = alias.strip_prefix("virtio:d")?.split_once('v')?;
            VirtioType::from_str_radix(device, 16).ok()
        };
        self.aliases.iter().filter_map(device).collect()
    }
}

/// `KEY=VALUE` strings.
fn pairs(section: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    strings(section).filter_map(|text| text.split_once('='))
}

/// NUL-terminated strings.
fn strings(section: &[u8]) -> impl Iterator<Item = &str> {
    section.split(|b| *b == 0).filter(|s| !s.is_empty()).filter_map(|s| std::str::from_utf8(s).ok())
}

fn checksummed(elf: &ElfBytes<'_, LittleEndian>) -> Result<Vec<String>, ModuleInfoError> {
    let Some((symbols, names)) = elf.symbol_table().map_err(ModuleInfoError::Elf)? else { return Ok(Vec::new()) };
    let name = |symbol: elf::symbol::Symbol| names.get(usize::try_from(symbol.st_name).ok()?).ok();
    Ok(symbols.iter().filter_map(name).filter_map(|name| name.strip_prefix("__crc_")).map(str::to_owned).collect())
}
