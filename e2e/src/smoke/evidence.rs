//! What is kept of a run that failed, since the folder that it had goes with it.

use crate::Sandbox;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Copies the logs that there are now, and an output, into a folder that is made for it.
///
/// # Panics
/// When they cannot be kept.
pub fn keep(sandbox: &Sandbox, folder: &Path, output: &str) -> PathBuf {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("output.txt"), output).unwrap();
    for (_, log) in sandbox.logs() {
        let below = log.strip_prefix(sandbox.state()).unwrap_or(&log);
        // One of a VM's may go while we look.
        let _ = fs::copy(&log, folder.join(below.display().to_string().replace('/', ".")));
    }
    folder.to_owned()
}
