//! From the kernel's first process to a machine with its root file system.
//!
//! Owns: the order of the steps: the kernel's own file systems, modules, disks, root, the usual mounts. Runs once, as PID 1
//! of an initramfs, before there is anything else. Must not know the host: all that a boot needs is on the machine. What goes
//! wrong is either fatal, or a warning for the host to show.

mod disks;
mod kernel_modules;
mod mounts;
mod root;

use crate::uevent::Uevents;
use banger_model::wire::guest::DISKLESS;
use disks::Disks;
use rustix::io::Errno;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long the disks may take to appear.
const DISKS_BOUND: Duration = Duration::from_secs(20);

/// Why there is no machine.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootError {
    #[error("cannot make the folder {}: {source}", path.display())]
    Folder { path: PathBuf, source: Errno },
    #[error("cannot mount {what} at {}: {source}", target.display())]
    Mount { what: String, target: PathBuf, source: Errno },
    #[error("no disk with the label {label:?} after {} s; disks there: {found}", DISKS_BOUND.as_secs())]
    NoDisk { label: &'static str, found: String },
    #[error("cannot make the image the root: {source}")]
    Switch { source: Errno },
}

/// Brings the machine up to its root. `warnings` gets what went wrong without stopping it.
///
/// # Errors
/// What stopped it.
pub(crate) fn boot(warnings: &mut Vec<String>) -> Result<(), BootError> {
    mounts::kernel_file_systems()?;
    // Before the modules that bring the disks, so that no news of one is missed.
    let uevents = Uevents::listen().ok();
    warnings.extend(kernel_modules::load_all());
    if is_diskless(&std::fs::read_to_string("/proc/cmdline").unwrap_or_default()) {
        return Ok(());
    }
    let disks = Disks::find(uevents.as_ref(), Instant::now() + DISKS_BOUND)?;
    let engines = root::assemble(&disks)?;
    root::switch()?;
    mounts::usual(warnings);
    mounts::disks(&disks, warnings)?;
    mounts::engines(engines, warnings);
    Ok(())
}

fn is_diskless(command_line: &str) -> bool {
    command_line.split_whitespace().any(|word| word == DISKLESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_word_makes_a_machine_diskless() {
        assert!(is_diskless("console=ttyS0 banger.diskless panic=-1\n") && is_diskless("banger.diskless"));
        assert!(!is_diskless("console=ttyS0 xbanger.diskless banger.diskless=0") && !is_diskless(""));
    }
}
