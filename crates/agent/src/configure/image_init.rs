//! Whether the image has an init of its own.
//!
//! Owns: where it is looked for, and what does not count as one. A container image often carries a distribution's `/sbin/init`
//! without anything for it to start; busybox's then only fills the console with complaints.

use banger_model::wire::guest::INIT_PLACES;
use rustix::fs::{Access, access};
use std::fs;
use std::path::{Path, PathBuf};

/// The init of the image at `root`, as a path below it.
pub(super) fn find(root: &Path) -> Option<PathBuf> {
    let works = |place: &str| {
        let file = root.join(place.trim_start_matches('/'));
        access(&file, Access::EXEC_OK).is_ok() && file.is_file() && has_work(root, &file)
    };
    INIT_PLACES.into_iter().find(|place| works(place)).map(PathBuf::from)
}

/// Whether that init is systemd, by whatever name.
pub(super) fn is_systemd(init: &Path) -> bool {
    fs::canonicalize(init).is_ok_and(|program| program.ends_with("systemd"))
}

/// Whether an init has something to start. Only of busybox's can that be told, and only it starts without.
fn has_work(root: &Path, init: &Path) -> bool {
    let program = fs::canonicalize(init).unwrap_or_else(|_| init.to_owned());
    if !program.file_name().is_some_and(|name| name.to_string_lossy().starts_with("busybox")) {
        return true;
    }
    match fs::read_to_string(root.join("etc/inittab")) {
        Ok(table) => table.lines().filter_map(system_start).any(|program| root.join(program).exists()),
        Err(_) => root.join("etc/init.d/rcS").exists(),
    }
}

/// The program, below the root, of a line `ID:LEVELS:sysinit:PROGRAM ARGUMENTS`.
fn system_start(line: &str) -> Option<&str> {
    let mut fields = line.trim().splitn(4, ':');
    let action = fields.nth(2)?;
    let program = fields.next()?.split_ascii_whitespace().next()?;
    (action == "sysinit").then(|| program.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn root() -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for folder in ["sbin", "bin", "etc/init.d", "lib/systemd"] {
            fs::create_dir_all(root.path().join(folder)).expect("a folder");
        }
        root
    }

    fn program(path: PathBuf) {
        fs::write(&path, "").expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    }

    #[test]
    fn systemd_is_one() {
        let root = root();
        assert_eq!(find(root.path()), None);
        program(root.path().join("lib/systemd/systemd"));
        assert_eq!(find(root.path()), Some("/lib/systemd/systemd".into()));
        symlink("../lib/systemd/systemd", root.path().join("sbin/init")).expect("a link");
        assert_eq!(find(root.path()), Some("/sbin/init".into()));
        assert!(is_systemd(&root.path().join("sbin/init")));
        assert!(!is_systemd(&root.path().join("bin/busybox")));
    }

    #[test]
    fn a_file_that_cannot_be_executed_is_none() {
        let root = root();
        fs::write(root.path().join("sbin/init"), "").expect("a file");
        assert_eq!(find(root.path()), None);
    }

    #[test]
    fn busybox_is_one_only_with_something_to_start() {
        let root = root();
        program(root.path().join("bin/busybox"));
        symlink("../bin/busybox", root.path().join("sbin/init")).expect("a link");
        assert_eq!(find(root.path()), None);
        let table = root.path().join("etc/inittab");
        fs::write(&table, "# note\n::sysinit:/sbin/openrc sysinit\ntty1::respawn:/sbin/getty 38400 tty1\n")
            .expect("a file");
        assert_eq!(find(root.path()), None);
        program(root.path().join("sbin/openrc"));
        assert_eq!(find(root.path()), Some("/sbin/init".into()));
    }
}
