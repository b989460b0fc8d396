//! Paths as layers write them.

use super::{FlattenError, FlattenFault};
use std::collections::VecDeque;

/// The most folders above one another.
const MAX_DEPTH: usize = 4096;
/// The longest name in ext4, in bytes.
const MAX_NAME: usize = 255;

/// A name, as in a folder.
pub(super) type Name = Box<[u8]>;
/// Names from the root down.
pub(super) type Path = Vec<Name>;

/// The names that `path` consists of. An absolute one is taken below the root, as every tool does.
pub(super) fn names(path: &[u8]) -> Result<Path, FlattenError> {
    let fault = |fault| FlattenError { path: path.escape_ascii().to_string(), fault };
    if std::str::from_utf8(path).is_err() {
        return Err(fault(FlattenFault::NotUtf8));
    }
    let mut names = Path::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => return Err(fault(FlattenFault::DotDot)),
            name if name.len() > MAX_NAME => return Err(fault(FlattenFault::LongName)),
            name if name.contains(&0) => return Err(fault(FlattenFault::Zero)),
            name => names.push(name.into()),
        }
    }
    if names.len() > MAX_DEPTH { Err(fault(FlattenFault::TooDeep)) } else { Ok(names) }
}

/// Puts where a symbolic link points in front of the names that are still to be walked. Says whether it begins at the root.
pub(super) fn expand(target: &[u8], ahead: &mut VecDeque<Name>) -> bool {
    for name in target.split(|byte| *byte == b'/').rev().filter(|name| !matches!(*name, b"" | b".")) {
        ahead.push_front(name.into());
    }
    target.first() == Some(&b'/')
}

/// For maps: the names in one piece.
pub(super) fn key(names: &[Name]) -> Vec<u8> {
    names.join(&b'/')
}

/// For errors.
pub(super) fn shown(names: &[Name]) -> String {
    format!("/{}", key(names).escape_ascii())
}
