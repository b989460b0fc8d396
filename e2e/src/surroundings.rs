//! Where the cases run: on this machine, or in a place that was made for them and says so in variables.
//!
//! On this machine every run fills its own store and any VMM that works is used. In the lab the store is given, a machine
//! is shared between processes, and `auto` has to come to Firecracker. A case need not know, but where a VMM makes a difference
//! that people see.

use crate::place::search_path;
use std::path::{Path, PathBuf};

/// The VMM that has to be taken where nothing else is said.
const VMM: &str = "BANGER_E2E_VMM";
/// A folder with a `data` of banger's that has a kernel.
const STORE: &str = "BANGER_E2E_STORE";
/// A folder for the machine that many cases share.
const SHARED: &str = "BANGER_E2E_SHARED";
/// How much passes through a stream.
const STREAM: &str = "BANGER_E2E_STREAM_MIB";

/// The variables of a case in the lab.
pub fn in_lab(shared: &str) -> [(&'static str, String); 6] {
    [
        (VMM, "firecracker".into()),
        (STORE, "/lab/store".into()),
        (SHARED, shared.into()),
        (STREAM, "8".into()),
        ("HOME", "/tmp".into()),
        ("LC_ALL", "C.UTF-8".into()),
    ]
}

/// The variables of cases on a host whose own KVM works, where Firecracker is one of the tools.
pub fn on_this_host(tools: &Path) -> [(&'static str, String); 2] {
    [(VMM, "firecracker".into()), ("PATH", format!("{}:{}", tools.display(), search_path()))]
}

/// What `vm show` has to call the VMM of a machine for which nothing was asked.
pub fn vmm() -> &'static str {
    if is_firecracker() { "firecracker" } else { "qemu" }
}

/// Whether the cases run on Firecracker.
pub fn is_firecracker() -> bool {
    std::env::var(VMM).is_ok_and(|vmm| vmm == "firecracker")
}

/// Lines of `[vm]` that every sandbox has here.
pub fn defaults() -> &'static str {
    // Firecracker has no network of its own, and `auto` takes it where none is wanted.
    if is_firecracker() { "net = \"none\"\n" } else { "" }
}

/// The store that is given.
pub fn store() -> Option<PathBuf> {
    std::env::var_os(STORE).map(PathBuf::from)
}

/// Where processes share a machine.
pub fn shared() -> Option<PathBuf> {
    std::env::var_os(SHARED).map(PathBuf::from)
}

/// How many MiB pass through a stream: a gibibyte where that is asked for, since an emulated processor carries 5 to 20 a second,
/// and this is one case of many.
pub fn stream_mib() -> u64 {
    std::env::var(STREAM).ok().and_then(|mib| mib.parse().ok()).unwrap_or(96)
}
