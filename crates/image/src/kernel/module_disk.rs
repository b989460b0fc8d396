//! The disk that a guest mounts at `/lib/modules/RELEASE`.
//!
//! Owns: laying out a kernel's modules and their indexes as a read-only ext4 image. Must not: choose what is in it. The same
//! kernel gives the same bytes, so that hosts can share what they cached.

use super::modules::{Builtin, IndexTooLarge, index_files};
use super::spool::Spooled;
use crate::effect;
use crate::ext4::Sink;
use banger_model::{Digest, wire::guest::label};
use mkext4::{FsBuilder, InodeHandle, Meta, Options, ROOT};
use std::collections::HashMap;
use std::io;
use std::path::Path;

/// Why the disk could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ModuleDiskError {
    /// The file system writer failed.
    #[error("cannot write the modules' disk")]
    Ext4(#[source] mkext4::Error),
    /// The file could not be written.
    #[error("cannot write the modules' disk")]
    Io(#[source] io::Error),
    /// More modules than indexes have room for.
    #[error(transparent)]
    Index(#[from] IndexTooLarge),
}

const BLOCK: u64 = 4096;
/// The smallest journal ext4 has, in blocks. It stays empty: the disk is never written.
const JOURNAL_BLOCKS: u32 = 1024;

/// Writes the disk to the new file `path` and syncs it. `identity` becomes its UUID.
pub(crate) fn write(spooled: &Spooled, identity: &Digest, path: &Path) -> Result<(), ModuleDiskError> {
    let text = |bytes| String::from_utf8_lossy(bytes);
    let builtin = Builtin { paths: &text(&spooled.texts.builtin), modinfo: &spooled.texts.builtin_modinfo };
    let mut files: Vec<(&str, &[u8])> = vec![
        ("modules.order", &spooled.texts.order),
        ("modules.builtin", &spooled.texts.builtin),
        ("modules.builtin.modinfo", &spooled.texts.builtin_modinfo),
    ];
    let indexes = index_files(&spooled.set, &builtin)?;
    files.extend(indexes.iter().map(|(name, bytes)| (*name, bytes.as_slice())));

    let mut tree = Tree::new(options(spooled, &files, identity))?;
    let mut modules: Vec<&str> = spooled.set.modules().iter().map(|module| module.path.as_str()).collect();
    modules.sort_unstable();
    let modules: Vec<(&str, InodeHandle)> = modules
        .into_iter()
        .map(|path| Ok((path, tree.file(path, spooled.length(path))?)))
        .collect::<mkext4::Result<_>>()
        .map_err(ModuleDiskError::Ext4)?;
    let files: Vec<(&[u8], InodeHandle)> = files
        .into_iter()
        .map(|(name, bytes)| Ok((bytes, tree.file(name, bytes.len() as u64)?)))
        .collect::<mkext4::Result<_>>()
        .map_err(ModuleDiskError::Ext4)?;

    let layout = tree.builder.seal().map_err(ModuleDiskError::Ext4)?;
    let file = effect::create(path).map_err(ModuleDiskError::Io)?;
    effect::resize(&file, layout.image_len()).map_err(ModuleDiskError::Io)?;
    let mut sink = Sink::new(&file);
    let mut writer = layout.writer(&mut sink).map_err(ModuleDiskError::Ext4)?;
    for (path, handle) in modules.into_iter().filter(|(path, _)| spooled.length(path) > 0) {
        let mut content = spooled.content(path).map_err(ModuleDiskError::Io)?;
        writer.fill(handle, &mut content).map_err(ModuleDiskError::Ext4)?;
    }
    for (mut bytes, handle) in files.into_iter().filter(|(bytes, _)| !bytes.is_empty()) {
        writer.fill(handle, &mut bytes).map_err(ModuleDiskError::Ext4)?;
    }
    writer.finish().map_err(ModuleDiskError::Ext4)?;
    sink.flush().and_then(|()| effect::sync(&file)).map_err(ModuleDiskError::Io)
}

/// Room for everything; what is not used stays a hole in the file.
fn options(spooled: &Spooled, files: &[(&str, &[u8])], identity: &Digest) -> Options {
    let modules = spooled.set.modules().iter().map(|module| spooled.length(&module.path));
    let lengths = modules.chain(files.iter().map(|(_, bytes)| bytes.len() as u64));
    let data: u64 = lengths.map(|length| length.next_multiple_of(BLOCK)).sum();
    let size = (data + data / 16 + 16 * (1 << 20)).next_multiple_of(BLOCK);
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&identity.as_bytes()[..16]);
    let mut options = Options::new(size, uuid, 0);
    options.label = Some(label::MODULES.to_owned());
    options.reserved_percent = 0;
    options.journal_blocks = Some(JOURNAL_BLOCKS);
    options
}

struct Tree {
    builder: FsBuilder,
    folders: HashMap<String, InodeHandle>,
}

impl Tree {
    fn new(options: Options) -> Result<Self, ModuleDiskError> {
        let builder = FsBuilder::new(options).map_err(ModuleDiskError::Ext4)?;
        Ok(Self { builder, folders: HashMap::new() })
    }

    fn file(&mut self, path: &str, length: u64) -> mkext4::Result<InodeHandle> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = self.folder(folder)?;
        self.builder.file(folder, name, Meta::new(0o644, 0, 0, (0, 0)), length)
    }

    fn folder(&mut self, path: &str) -> mkext4::Result<InodeHandle> {
        let mut at = ROOT;
        let mut end = 0;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            end += name.len() + usize::from(end > 0);
            at = match self.folders.get(&path[..end]) {
                Some(known) => *known,
                None => {
                    let made = self.builder.mkdir(at, name, Meta::new(0o755, 0, 0, (0, 0)))?;
                    self.folders.insert(path[..end].to_owned(), made);
                    made
                }
            };
        }
        Ok(at)
    }
}
