//! Tars and images for the tests, made by hand, and ways to look into what becomes of them.
#![allow(dead_code, reason = "each test file uses its own part of it")]

use banger_image::cancel::Cancel;
use banger_image::image::{self, Image, ImageError, PullOptions};
use banger_image::progress::NoProgress;
use banger_image::store::Store;
use banger_model::Digest;
use mkext4::reader::Fs;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A tar that is written header by header, right or wrong.
#[derive(Default)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

/// A header's fields.
pub(crate) struct Head<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) kind: u8,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) size: u64,
    pub(crate) mtime: u64,
    pub(crate) link: &'a [u8],
    pub(crate) device: (u32, u32),
}

impl<'a> Head<'a> {
    pub(crate) fn new(name: &'a str, kind: u8) -> Self {
        let mode = if kind == b'5' { 0o755 } else { 0o644 };
        Self {
            name: name.as_bytes(),
            kind,
            mode,
            owner: (0, 0),
            size: 0,
            mtime: 1_600_000_000,
            link: b"",
            device: (0, 0),
        }
    }

    pub(crate) fn block(&self) -> [u8; 512] {
        let mut block = [0; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.name[..self.name.len().min(100)]);
        put(100, format!("{:07o}", self.mode).as_bytes());
        put(108, format!("{:07o}", self.owner.0).as_bytes());
        put(116, format!("{:07o}", self.owner.1).as_bytes());
        if self.size < 1 << 33 {
            put(124, format!("{:011o}", self.size).as_bytes());
        } else {
            put(124, &[0x80]);
            put(128, &self.size.to_be_bytes());
        }
        put(136, format!("{:011o}", self.mtime).as_bytes());
        put(156, &[self.kind]);
        put(157, &self.link[..self.link.len().min(100)]);
        put(257, b"ustar\x0000");
        put(329, format!("{:07o}", self.device.0).as_bytes());
        put(337, format!("{:07o}", self.device.1).as_bytes());
        seal(&mut block);
        block
    }
}

/// Writes a header's checksum.
pub(crate) fn seal(block: &mut [u8; 512]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

impl Tar {
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn head(self, head: &Head<'_>) -> Self {
        self.raw(&head.block())
    }

    pub(crate) fn file(self, name: &str, content: &[u8]) -> Self {
        self.head(&Head { size: content.len() as u64, ..Head::new(name, b'0') }).raw(content)
    }

    pub(crate) fn dir(self, name: &str) -> Self {
        self.head(&Head::new(name, b'5'))
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.head(&Head { link: target.as_bytes(), ..Head::new(name, b'2') })
    }

    pub(crate) fn link(self, name: &str, target: &str) -> Self {
        self.head(&Head { link: target.as_bytes(), ..Head::new(name, b'1') })
    }

    /// Records for the next entry.
    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut bytes = Vec::new();
        for (key, value) in records {
            let body = key.len() + value.len() + 3;
            let length = (body + 1..).find(|length| body + length.to_string().len() == *length).unwrap();
            bytes.extend_from_slice(format!("{length} {key}=").as_bytes());
            bytes.extend_from_slice(value);
            bytes.push(b'\n');
        }
        self.head(&Head { size: bytes.len() as u64, ..Head::new("pax", b'x') }).raw(&bytes)
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// How a layer is packed.
#[derive(Clone, Copy)]
pub(crate) enum Pack {
    Plain,
    Gzip,
    Zstd,
}

impl Pack {
    pub(crate) fn pack(self, tar: &[u8]) -> Vec<u8> {
        match self {
            Self::Plain => tar.to_vec(),
            Self::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(tar).unwrap();
                encoder.finish().unwrap()
            }
            Self::Zstd => zstd::encode_all(tar, 1).unwrap(),
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Gzip => "+gzip",
            Self::Zstd => "+zstd",
        }
    }
}

/// What a layer of a hand-made image is.
pub(crate) struct LayerOf {
    pub(crate) stored: Vec<u8>,
    pub(crate) diff_id: Digest,
    pub(crate) pack: Pack,
}

pub(crate) fn layer(tar: &[u8], pack: Pack) -> LayerOf {
    LayerOf { stored: pack.pack(tar), diff_id: sha256(tar), pack }
}

pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::digest(bytes).into())
}

/// Writes an OCI layout of those layers, the lowest first, and returns the reference to it.
pub(crate) fn layout(dir: &Path, layers: &[LayerOf]) -> String {
    let root = dir.join("layout");
    fs::create_dir_all(root.join("blobs/sha256")).unwrap();
    let blob = |bytes: &[u8], kind: &str| {
        let digest = sha256(bytes);
        fs::write(root.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        serde_json::json!({ "mediaType": kind, "digest": digest, "size": bytes.len() })
    };
    let described: Vec<_> = layers
        .iter()
        .map(|layer| blob(&layer.stored, &format!("application/vnd.oci.image.layer.v1.tar{}", layer.pack.suffix())))
        .collect();
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id).collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": { "Env": ["A=b"] },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = blob(config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json");
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config, "layers": described,
    });
    let manifest = blob(manifest.to_string().as_bytes(), "application/vnd.oci.image.manifest.v1+json");
    fs::write(root.join("index.json"), serde_json::json!({ "schemaVersion": 2, "manifests": [manifest] }).to_string())
        .unwrap();
    fs::write(root.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    format!("oci-layout:{}", root.display())
}

/// A store and a place for sources.
pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: Store,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        Self { dir, store }
    }

    pub(crate) fn pull(&self, reference: &str) -> Result<Image, ImageError> {
        let options = PullOptions::default();
        image::pull(&self.store, &reference.parse().unwrap(), true, &options, &NoProgress, &Cancel::new())
    }

    /// Makes an image of a root tar.
    pub(crate) fn rootfs(&self, tar: &[u8]) -> Result<Image, ImageError> {
        let path = self.dir.path().join("root.tar");
        fs::write(&path, tar).unwrap();
        self.pull(&format!("rootfs:{}", path.display()))
    }

    pub(crate) fn layers(&self, layers: &[LayerOf]) -> Result<Image, ImageError> {
        self.pull(&layout(self.dir.path(), layers))
    }

    pub(crate) fn root(&self, image: &Image) -> PathBuf {
        image::files(&self.store, &image.digest).unwrap().1.root
    }

    /// That a failure left nothing in the store.
    pub(crate) fn assert_empty(&self) {
        for folder in ["images", "image-names", "staging"] {
            let left: Vec<_> = fs::read_dir(self.store.root().join(folder)).unwrap().collect();
            assert!(left.is_empty(), "{folder}: {left:?}");
        }
    }
}

/// Asks e2fsck and the reader whether a file system is sound.
pub(crate) fn assert_clean(path: &Path) {
    // An ordinary user's search path has no folder of system programs.
    match Command::new("e2fsck").env("PATH", "/usr/sbin:/sbin").arg("-fn").arg(path).output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout)),
        Err(_) => eprintln!("SKIPPED: e2fsck of {}: e2fsprogs is not installed", path.display()),
    }
    let issues = open(path).verify().unwrap();
    assert!(issues.is_empty(), "{issues:?}");
}

pub(crate) fn open(path: &Path) -> Fs<File> {
    Fs::open(File::open(path).unwrap()).unwrap()
}

/// Some bytes of a file.
pub(crate) fn bytes_at(path: &Path, name: &str, offset: u64, count: usize) -> Vec<u8> {
    let fs = open(path);
    let ino = fs.resolve(name).unwrap();
    let inode = fs.inode(ino).unwrap();
    let mut bytes = vec![0; count];
    fs.read_file_at(&inode, &fs.extents(ino, &inode).unwrap(), offset, &mut bytes).unwrap();
    bytes
}

/// A file's bytes.
pub(crate) fn cat(path: &Path, name: &str) -> Vec<u8> {
    let fs = open(path);
    fs.read_file(fs.resolve(name).unwrap()).unwrap()
}

/// Every path with what it is, as `debugfs` would show it, but `lost+found`.
pub(crate) fn listing(path: &Path) -> Vec<String> {
    let fs = open(path);
    let mut found = Vec::new();
    let mut open = vec![(String::new(), fs.resolve("/").unwrap())];
    while let Some((path, ino)) = open.pop() {
        for entry in fs.read_dir(ino).unwrap() {
            let name = String::from_utf8(entry.name.clone()).unwrap();
            if matches!(name.as_str(), "." | ".." | "lost+found") {
                continue;
            }
            let path = format!("{path}/{name}");
            let inode = fs.inode(entry.inode).unwrap();
            if inode.mode >> 12 == 0o4 {
                open.push((path.clone(), entry.inode));
            }
            found.push(format!("{path} {:o} {}:{} links {}", inode.mode, inode.uid, inode.gid, inode.links_count));
        }
    }
    found.sort();
    found
}

/// An error and its causes, as a person would see them.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}
