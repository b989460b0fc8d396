//! The images that pulls are measured with, made of what this machine has.

use banger_e2e::fixture::{
    image::Tree,
    layout::{self, Image, Layer},
};
use flate2::{Compression, write::GzEncoder};
use serde_json::json;
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

/// Until a tar has this many bytes: programs and libraries shrink to two fifths, so 110 MB travel.
const PLAIN: usize = 272 << 20;

/// An OCI layout with the images `one` (a single layer) and `six` (the same files in six). Gives how many bytes travel.
pub(crate) fn layout(dir: &Path) -> usize {
    let mut files = Vec::new();
    let mut room = PLAIN;
    for folder in ["/usr/bin", "/usr/lib", "/usr/share"] {
        collect(Path::new(folder), &mut files, &mut room);
    }
    let one = vec![pack(&files)];
    let travels = one.iter().map(|layer| layer.bytes.len()).sum();
    let six = files.chunks(files.len().div_ceil(6)).map(pack).collect();
    let image = |tag, layers| Image { tag, layers, config: json!({}) };
    layout::write(dir, &[image("one", one), image("six", six)]);
    travels
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>, room: &mut usize) {
    for path in banger_e2e::sandbox::entries(folder) {
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        let length = usize::try_from(meta.len()).unwrap();
        if meta.is_dir() {
            collect(&path, files, room);
        } else if meta.is_file() && length <= *room {
            *room -= length;
            files.push(path);
        }
    }
}

fn pack(files: &[PathBuf]) -> Layer {
    let mut tree = Tree::new(Vec::new());
    for path in files {
        if let Ok(bytes) = fs::read(path) {
            tree.file(path.to_str().unwrap().trim_start_matches('/'), &bytes, 0o755, 0);
        }
    }
    Layer::gzip(tree.finish())
}

/// A layout whose image `big` holds one file of that many GiB, which shrinks to an eighth of a percent or so.
pub(crate) fn one_big_file(dir: &Path, gib: u64) {
    let block: Vec<u8> = (0..1 << 20).map(|n: u32| u8::try_from((n / 97) % 251).unwrap()).collect();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let mut header = tar::Header::new_ustar();
    header.set_path("big").unwrap();
    header.set_mode(0o644);
    header.set_size(gib << 30);
    header.set_cksum();
    let mut diff = Plain { hash: sha2::Digest::new(), to: &mut encoder };
    diff.write_all(header.as_bytes()).unwrap();
    for _ in 0..gib << 10 {
        diff.write_all(&block).unwrap();
    }
    diff.write_all(&[0; 1024]).unwrap();
    let diff_id = diff.finish();
    let bytes = encoder.finish().unwrap();
    let layer = Layer { bytes, diff_id, media_type: "application/vnd.oci.image.layer.v1.tar+gzip".into() };
    layout::write(dir, &[Image { tag: "big", layers: vec![layer], config: json!({}) }]);
}

/// Hashes what goes through.
struct Plain<'a, W> {
    hash: sha2::Sha256,
    to: &'a mut W,
}

impl<W: Write> Plain<'_, W> {
    fn finish(self) -> String {
        let hex: String = sha2::Digest::finalize(self.hash).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{hex}")
    }
}

impl<W: Write> Write for Plain<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let length = self.to.write(bytes)?;
        sha2::Digest::update(&mut self.hash, &bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}
