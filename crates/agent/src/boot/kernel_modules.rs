//! The modules in the initramfs.
//!
//! Owns: loading them in the order of `/modules/order`, and giving back the memory they take. A kernel that has everything
//! built in comes without the list.

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use std::path::Path;

const FOLDER: &str = "/modules";

/// Loads all, past those that cannot be; what is missed shows where it is needed.
pub(super) fn load_all() -> Vec<String> {
    let order = std::fs::read_to_string(Path::new(FOLDER).join("order")).unwrap_or_default();
    let mut warnings = Vec::new();
    for name in order.lines().filter(|name| !name.is_empty()) {
        let path = Path::new(FOLDER).join(name);
        let loaded = open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .and_then(|file| rustix::system::finit_module(&file, c"", 0));
        match loaded {
            Ok(()) | Err(Errno::EXIST) => {}
            // Modules for devices that this machine does not have.
            Err(Errno::NODEV) => {}
            Err(error) => warnings.push(format!("kernel module {name} could not be loaded: {error}")),
        }
        let _ = std::fs::remove_file(&path);
    }
    let _ = std::fs::remove_dir_all(FOLDER);
    warnings
}
