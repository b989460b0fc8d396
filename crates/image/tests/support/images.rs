//! Small images, made with umoci.

use super::run;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The name of the image in the layouts that are made here.
pub(crate) const TAG: &str = "dev";

/// A tar with one file of `size` bytes that do not repeat, so that compression leaves them large.
pub(crate) fn tar(path: &Path, name: &str, size: usize) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ name.len() as u64;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    })
    .take(size)
    .collect();
    let mut tar = tar::Builder::new(fs::File::create(path).unwrap());
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    tar.append_data(&mut header, name, bytes.as_slice()).unwrap();
    tar.finish().unwrap();
}

/// An OCI layout in `dir` with an image of two layers and a configuration.
pub(crate) fn layout(dir: &Path) -> PathBuf {
    let layout = dir.join("layout");
    let image = format!("{}:{TAG}", layout.display());
    let umoci = |args: &[&str]| {
        let mut command = Command::new("umoci");
        command.args(args).env("HOME", dir);
        run(&mut command)
    };
    umoci(&["init", "--layout", &layout.to_string_lossy()]);
    umoci(&["new", "--image", &image]);
    for (name, size) in [("lower", 300_000), ("upper", 3_000_000)] {
        let path = dir.join(format!("{name}.tar"));
        tar(&path, name, size);
        umoci(&["raw", "add-layer", "--image", &image, &path.to_string_lossy()]);
    }
    umoci(&[
        "config",
        "--image",
        &image,
        "--config.env",
        "COLOUR=green",
        "--config.workingdir",
        "/srv",
        "--config.user",
        "worker",
        "--config.cmd",
        "sh",
    ]);
    layout
}

/// Copies an image from one form to another.
pub(crate) fn skopeo(args: &[&str]) {
    run(Command::new("skopeo").args(["--insecure-policy", "copy", "--quiet"]).args(args));
}
