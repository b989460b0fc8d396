//! By which files the kernel starts a program: the interpreter that it names, the one that that names, and so on.
//!
//! An ELF names its dynamic loader, unless it is static; a script the program after `#!`. What cannot be read has none: starting
//! it will tell why.

use elf::{ElfStream, abi::PT_INTERP, endian::AnyEndian};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A script's interpreter may be a script as well; the kernel follows no more than this.
const DEPTH: usize = 5;
/// Longest name that is read, in bytes.
const MAX_NAME: u64 = 4096;

/// The interpreters of a program's file, in the order in which they are needed.
pub(super) fn interpreters(program: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    while let Some(next) = interpreter(found.last().map_or(program, PathBuf::as_path)) {
        if found.len() == DEPTH {
            break;
        }
        found.push(next);
    }
    found
}

fn interpreter(program: &Path) -> Option<PathBuf> {
    let mut file = File::open(program).ok()?;
    let mut beginning = Vec::new();
    (&mut file).take(MAX_NAME).read_to_end(&mut beginning).ok()?;
    if let Some(line) = beginning.strip_prefix(b"#!") {
        let line = line.split(|b| *b == b'\n').next()?.trim_ascii();
        return as_path(line.split(|b| b.is_ascii_whitespace()).next()?);
    }
    let elf = ElfStream::<AnyEndian, _>::open_stream(file.try_clone().ok()?).ok()?;
    let segment = elf.segments().iter().find(|segment| segment.p_type == PT_INTERP)?;
    file.seek(SeekFrom::Start(segment.p_offset)).ok()?;
    let mut name = Vec::new();
    file.take(segment.p_filesz.min(MAX_NAME)).read_to_end(&mut name).ok()?;
    as_path(name.split(|b| *b == 0).next()?)
}

fn as_path(bytes: &[u8]) -> Option<PathBuf> {
    (!bytes.is_empty()).then(|| OsStr::from_bytes(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_and_programs_name_what_starts_them() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let own = interpreters(&std::env::current_exe().unwrap());
        assert_eq!(own.len(), 1, "{own:?}");
        assert!(own[0].starts_with("/lib64"), "{own:?}");

        let script = interpreters(&write("script", b"#! /bin/sh -e\nexit\n"));
        assert_eq!(script, [Path::new("/bin/sh"), &own[0]]);
        for neither in [&b""[..], b"#!", b"#!\n", b"\x7fELF", b"text"] {
            assert_eq!(interpreters(&write("neither", neither)), [""; 0].map(PathBuf::from), "{neither:?}");
        }
        assert!(interpreters(&folder.path().join("missing")).is_empty());

        let endless = folder.path().join("endless");
        std::fs::write(&endless, format!("#!{}\n", endless.display())).unwrap();
        assert_eq!(interpreters(&endless).len(), DEPTH);
    }
}
