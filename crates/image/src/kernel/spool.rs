//! Kernel modules on their way from a package to the disk that holds them.
//!
//! Owns: one scratch file with the plain content of every module, one behind the other, and what each says of itself. The
//! disk's layout needs every size before the first byte, and a package is a stream, so the contents wait here. Must not:
//! decide which modules are wanted.

use super::modules::{ModuleInfo, ModuleInfoError, ModuleSet, module_name};
use super::unpack::{self, Compression};
use crate::effect::Output;
use banger_model::Digest;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::Range;

/// The largest module that is taken, in bytes. Debian's largest is under 10 MB.
const MAX_MODULE: u64 = 128 << 20;
/// The largest text beside the modules, like `modules.builtin.modinfo`.
const MAX_TEXT: u64 = 32 << 20;
/// The most that all modules may have together.
const MAX_TOTAL: u64 = 4 << 30;

/// What is wrong with a module tree.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// A file cannot be read or unpacked.
    #[error("{path}: cannot be read")]
    Read {
        /// The file, relative to the tree.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file is larger than any real one.
    #[error("{path}: larger than {limit} bytes")]
    TooLarge {
        /// The file, relative to the tree.
        path: String,
        /// The most that is taken.
        limit: u64,
    },
    /// A `.ko` file that is no module.
    #[error("{path}: not a kernel module")]
    NotModule {
        /// The file, relative to the tree.
        path: String,
        /// Why.
        source: ModuleInfoError,
    },
    /// The tree belongs to another kernel.
    #[error("{path}: built for kernel {module}, not for {kernel}")]
    OtherKernel {
        /// The file, relative to the tree.
        path: String,
        /// The kernel that the module names.
        module: String,
        /// The kernel at hand.
        kernel: String,
    },
    /// The scratch file failed.
    #[error("cannot keep the kernel's modules in a scratch file")]
    Scratch(#[source] io::Error),
}

/// The spool, while files come in.
#[derive(Debug)]
pub(crate) struct Spool {
    scratch: BufWriter<Output>,
    length: u64,
    contents: HashMap<String, Content>,
    modules: Vec<(String, ModuleInfo)>,
    texts: Texts,
}

/// What the kernel's build leaves beside the modules.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    /// `modules.order`.
    pub(crate) order: Vec<u8>,
    /// `modules.builtin`.
    pub(crate) builtin: Vec<u8>,
    /// `modules.builtin.modinfo`.
    pub(crate) builtin_modinfo: Vec<u8>,
}

/// The spool, when everything is there.
#[derive(Debug)]
pub(crate) struct Spooled {
    /// The modules.
    pub(crate) set: ModuleSet,
    /// The texts beside them.
    pub(crate) texts: Texts,
    scratch: File,
    contents: HashMap<String, Content>,
}

/// Where a module lies in the scratch file, and what its bytes hash to.
#[derive(Debug)]
struct Content {
    range: Range<u64>,
    digest: Digest,
}

impl Spool {
    /// Keeps contents in `scratch`, which is empty and readable too.
    pub(crate) fn new(scratch: File) -> Self {
        Self {
            scratch: BufWriter::with_capacity(256 << 10, Output::to(scratch)),
            length: 0,
            contents: HashMap::new(),
            modules: Vec::new(),
            texts: Texts::default(),
        }
    }

    /// Takes one file of the tree; `path` is relative to `/lib/modules/RELEASE`. What is neither a module nor one of the
    /// build's texts is left out: indexes that may be there are written anew.
    pub(crate) fn add(&mut self, path: &str, content: &mut dyn Read) -> Result<(), ModuleError> {
        let text = match path {
            "modules.order" => &mut self.texts.order,
            "modules.builtin" => &mut self.texts.builtin,
            "modules.builtin.modinfo" => &mut self.texts.builtin_modinfo,
            _ if module_name(path).is_some() => return self.add_module(path, content),
            _ => return Ok(()),
        };
        *text = read_all(path, content, MAX_TEXT)?;
        Ok(())
    }

    fn add_module(&mut self, path: &str, content: &mut dyn Read) -> Result<(), ModuleError> {
        let read = |source| ModuleError::Read { path: path.to_owned(), source };
        let bytes = read_all(path, content, MAX_MODULE)?;
        let bytes = match Compression::detect(&bytes) {
            None => bytes,
            Some(compression) => {
                let plain = unpack::decoder(compression, bytes.as_slice()).map_err(read)?;
                let mut plain = plain.ok_or_else(|| read(io::ErrorKind::Unsupported.into()))?;
                read_all(path, &mut plain, MAX_MODULE)?
            }
        };
        let info =
            ModuleInfo::parse(&bytes).map_err(|source| ModuleError::NotModule { path: path.to_owned(), source })?;
        let end = self.length + bytes.len() as u64;
        if end > MAX_TOTAL {
            return Err(ModuleError::TooLarge { path: path.to_owned(), limit: MAX_TOTAL });
        }
        self.scratch.write_all(&bytes).map_err(ModuleError::Scratch)?;
        let plain = path.strip_suffix(".gz").or(path.strip_suffix(".xz")).or(path.strip_suffix(".zst")).unwrap_or(path);
        let content = Content { range: self.length..end, digest: Digest::from_bytes(Sha256::digest(&bytes).into()) };
        self.contents.insert(plain.to_owned(), content);
        self.length = end;
        self.modules.push((plain.to_owned(), info));
        Ok(())
    }

    /// Everything has come: checks that all of it is of the kernel `release`.
    pub(crate) fn finish(self, release: &str) -> Result<Spooled, ModuleError> {
        let scratch = self.scratch.into_inner().map_err(|error| ModuleError::Scratch(error.into_error()))?;
        let scratch = scratch.into_inner();
        for (path, info) in &self.modules {
            if let Some(module) = info.release.as_ref().filter(|module| *module != release) {
                let (path, module, kernel) = (path.clone(), module.clone(), release.to_owned());
                return Err(ModuleError::OtherKernel { path, module, kernel });
            }
        }
        let set = ModuleSet::new(self.modules, &String::from_utf8_lossy(&self.texts.order));
        Ok(Spooled { set, texts: self.texts, scratch, contents: self.contents })
    }
}

impl Spooled {
    /// The length of the module at `path` of the set.
    pub(crate) fn length(&self, path: &str) -> u64 {
        self.contents.get(path).map_or(0, |content| content.range.end - content.range.start)
    }

    /// Its content. The readers share one position: one at a time.
    pub(crate) fn content(&self, path: &str) -> io::Result<impl Read> {
        let range = self.contents.get(path).map(|content| content.range.clone()).unwrap_or_default();
        (&self.scratch).seek(SeekFrom::Start(range.start))?;
        Ok(BufReader::new((&self.scratch).take(range.end - range.start)))
    }

    /// Mixes everything that is kept into `hash`, in an order that does not depend on how it came.
    pub(crate) fn hash_into(&self, hash: &mut Sha256) {
        for text in [&self.texts.order, &self.texts.builtin, &self.texts.builtin_modinfo] {
            hash.update(Sha256::digest(text));
        }
        let mut paths: Vec<&str> = self.set.modules().iter().map(|module| module.path.as_str()).collect();
        paths.sort_unstable();
        for (path, content) in paths.into_iter().filter_map(|path| Some((path, self.contents.get(path)?))) {
            hash.update(path);
            hash.update([0]);
            hash.update(content.digest.as_bytes());
        }
    }
}

/// All of `content`, at most `limit` bytes.
fn read_all(path: &str, content: &mut dyn Read, limit: u64) -> Result<Vec<u8>, ModuleError> {
    let mut bytes = Vec::new();
    content
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| ModuleError::Read { path: path.to_owned(), source })?;
    if bytes.len() as u64 > limit {
        return Err(ModuleError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(bytes)
}
