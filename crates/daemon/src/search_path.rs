//! Where the programs that VMs run on are looked for. Those that images and kernels are made with find their own through
//! `PATH` alone, as they need it for what they run themselves.

use std::ffi::OsString;

/// Folders that are searched whatever the caller's `PATH` says.
const USUAL_FOLDERS: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";

/// `PATH`, then the usual folders, written like `PATH`.
pub(crate) fn search_path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    if !path.is_empty() {
        path.push(":");
    }
    path.push(USUAL_FOLDERS);
    path
}
