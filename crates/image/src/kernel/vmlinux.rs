//! The kernel as an ELF file (`vmlinux`): what a VMM loads without a boot loader.
//!
//! Owns: telling a usable one from other ELF files. Must not: change it.

use elf::ElfStream;
use elf::endian::LittleEndian;
use elf::note::Note;
use std::fs::File;
use std::io::{self, Read, Seek};

/// `XEN_ELFNOTE_PHYS32_ENTRY`: the note that offers a 32-bit entry point, as the PVH boot protocol needs it.
const PVH_NOTE: u64 = 18;
/// The most program headers that are looked at; Linux has five.
const MAX_SEGMENTS: u16 = 64;
/// The longest note segment that is read, in bytes; Linux has some hundred.
const MAX_NOTES: u64 = 1 << 20;

/// What the file offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Vmlinux {
    /// QEMU can boot it directly.
    pub(crate) pvh: bool,
}

/// Why a file is no kernel.
#[derive(Debug, thiserror::Error)]
pub enum VmlinuxError {
    /// It is not readable as ELF.
    #[error("not a readable ELF file")]
    Elf(#[source] elf::ParseError),
    /// It is something else.
    #[error("an ELF file, but no kernel for x86-64")]
    NotKernel,
    /// It has no version text.
    #[error("no Linux version text in it")]
    NoRelease,
    /// It cannot be read.
    #[error("cannot be read")]
    Read(#[source] io::Error),
}

/// Whether `head` begins an ELF file.
pub(crate) fn is_elf(head: &[u8]) -> bool {
    head.starts_with(&elf::abi::ELFMAGIC)
}

/// Reads the headers of `file`.
pub(crate) fn inspect(file: &File) -> Result<Vmlinux, VmlinuxError> {
    let mut elf = ElfStream::<LittleEndian, _>::open_stream(file).map_err(VmlinuxError::Elf)?;
    let kernel = elf.ehdr.e_machine == elf::abi::EM_X86_64
        && elf.ehdr.e_type == elf::abi::ET_EXEC
        && elf.ehdr.e_phnum <= MAX_SEGMENTS
        && elf.segments().iter().any(|segment| segment.p_type == elf::abi::PT_LOAD);
    if !kernel {
        return Err(VmlinuxError::NotKernel);
    }
    let is_note = |s: &&elf::segment::ProgramHeader| s.p_type == elf::abi::PT_NOTE && s.p_filesz <= MAX_NOTES;
    let notes: Vec<_> = elf.segments().iter().filter(is_note).copied().collect();
    let mut pvh = false;
    for segment in notes {
        let mut found = elf.segment_data_as_notes(&segment).map_err(VmlinuxError::Elf)?;
        pvh |= found.any(|note| matches!(note, Note::Unknown(note) if note.n_type == PVH_NOTE && matches!(note.name_str(), Ok("Xen"))));
    }
    Ok(Vmlinux { pvh })
}

/// The kernel's release, from the version text that every kernel carries: `Linux version 6.1.0 (…`.
pub(crate) fn release(mut file: &File) -> Result<String, VmlinuxError> {
    const TEXT: &[u8] = b"Linux version ";
    const CHUNK: usize = 1 << 20;
    file.rewind().map_err(VmlinuxError::Read)?;
    let mut window = Vec::with_capacity(CHUNK + 256);
    loop {
        let kept = window.len();
        let read = file.take(CHUNK as u64).read_to_end(&mut window).map_err(VmlinuxError::Read)?;
        let mut at = 0;
        while let Some(found) = find(&window[at..], TEXT) {
            at += found + TEXT.len();
            let rest = &window[at..];
            let end = rest.iter().take(super::MAX_RELEASE + 1).position(|b| matches!(b, 0 | b' '));
            if let Some(release) = end.and_then(|end| super::valid_release(&rest[..end])) {
                return Ok(release);
            }
        }
        if read == 0 {
            return Err(VmlinuxError::NoRelease);
        }
        // A text may lie across the border.
        let keep = (TEXT.len() + super::MAX_RELEASE + 1).min(kept + read);
        window.drain(..window.len() - keep);
    }
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(found) = bytes[at..].iter().position(|b| *b == needle[0]) {
        at += found;
        if bytes[at..].starts_with(needle) {
            return Some(at);
        }
        at += 1;
    }
    None
}
