//! A store with the default image and kernel in it, by the layout that the image crate documents: no verb looks inside.

use banger_model::{ByteSize, Digest, api::image::ImageConfig};
use sha2::{Digest as _, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
};

pub(super) const IMAGE: &str = "debian-bookworm";

pub(super) fn data(root: &Path) -> PathBuf {
    root.join("data")
}

pub(super) fn agent(root: &Path) -> PathBuf {
    root.join("agent")
}

pub(super) fn furnish(root: &Path) {
    let digest = Digest::from_bytes([7; 32]);
    let store = banger_image::store::Store::open(data(root)).unwrap();

    let manifest = banger_image::image::Manifest {
        format: 1,
        size: ByteSize::mib(1),
        created_ms: 1,
        init: None,
        config: ImageConfig { env: vec!["FROM=image".into(), "WHO=image".into()], ..ImageConfig::default() },
        warnings: Vec::new(),
        lengths: Default::default(),
    };
    write(&store.image(&digest).join("manifest.json"), &serde_json::to_vec(&manifest).unwrap());
    write(&store.image(&digest).join("image.ext4"), b"");
    let home = serde_json::json!({ "mode": 0o700, "uid": 0, "gid": 0, "mtime": [0, 0], "dir": {} });
    let seed = serde_json::json!({ "format": 1, "inodes": [home] });
    write(&store.image(&digest).join("seed.json"), seed.to_string().as_bytes());
    name_image(root, IMAGE);

    let manifest = serde_json::json!({
        "format": 1, "release": "6.1", "boot_image": false, "pvh": true, "modules": 0, "boot_modules": [],
    });
    write(&store.kernel(&digest).join("manifest.json"), manifest.to_string().as_bytes());
    write(&store.kernel(&digest).join("boot-modules.cpio"), b"");
    let origin = serde_json::json!({ "from": "import", "kernel": "/x" });
    let name = serde_json::json!({ "digest": digest, "origin": origin, "created_ms": 1 });
    write(&store.kernel_names().join("debian.json"), name.to_string().as_bytes());

    fs::write(agent(root), static_program()).unwrap();
}

/// Gives the image another name.
pub(super) fn name_image(root: &Path, name: &str) {
    let store = banger_image::store::Store::open(data(root)).unwrap();
    let file = Digest::from_bytes(Sha256::digest(name).into()).hex();
    let record = serde_json::json!({ "name": name, "digest": Digest::from_bytes([7; 32]) });
    write(&store.image_names().join(format!("{file}.json")), record.to_string().as_bytes());
}

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// The least ELF header that says x86-64 and needs no loader.
fn static_program() -> Vec<u8> {
    let mut elf = vec![0; 64];
    elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    elf[16] = 2;
    elf[18] = 62;
    elf[20] = 1;
    elf[52] = 64;
    elf
}
