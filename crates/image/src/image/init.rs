//! Whether an image brings a program that wants to be process 1. This is for people to read: at a boot the agent decides, who
//! can also read what an init is told to start.

use crate::ext4::{Kind, Tree};
use banger_model::wire::guest::INIT_PLACES;

/// Busybox is an init only where something tells it what to start: Alpine's images have its link, but none of these.
const BUSYBOX_NEEDS: [&str; 2] = ["/sbin/openrc", "/etc/init.d/rcS"];

/// The init's path, if there is one that can be executed.
pub(super) fn find(tree: &Tree) -> Option<&'static str> {
    INIT_PLACES.into_iter().find(|path| {
        let Some(id) = tree.resolve(path.as_bytes()) else { return false };
        let inode = tree.inode(id);
        let can_run = matches!(inode.kind, Kind::File(_)) && inode.meta.mode & 0o111 != 0;
        can_run && (!is_busybox(tree, path) || BUSYBOX_NEEDS.iter().any(|path| tree.resolve(path.as_bytes()).is_some()))
    })
}

fn is_busybox(tree: &Tree, path: &str) -> bool {
    ["/bin/busybox", "/usr/bin/busybox", "/sbin/busybox"].iter().any(|busybox| {
        let busybox = tree.resolve(busybox.as_bytes());
        busybox.is_some() && busybox == tree.resolve(path.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ext4::{Content, InodeId, Meta, Time};

    fn folder(tree: &mut Tree, dir: InodeId, name: &str) -> InodeId {
        tree.dir(dir, name.as_bytes(), Meta::root(0o755, Time::default()))
    }

    fn program(tree: &mut Tree, dir: InodeId, name: &str, mode: u16) {
        tree.file(dir, name.as_bytes(), Meta::root(mode, Time::default()), Content::default());
    }

    #[test]
    fn links_are_followed_inside_the_image() {
        let mut tree = Tree::new(Meta::default());
        let usr = folder(&mut tree, Tree::ROOT, "usr");
        tree.symlink(Tree::ROOT, b"sbin", Meta::default(), b"usr/sbin");
        let sbin = folder(&mut tree, usr, "sbin");
        tree.symlink(sbin, b"init", Meta::default(), b"/../lib/systemd/systemd");
        assert_eq!(find(&tree), None);
        let lib = folder(&mut tree, Tree::ROOT, "lib");
        let systemd = folder(&mut tree, lib, "systemd");
        program(&mut tree, systemd, "systemd", 0o644);
        assert_eq!(find(&tree), None);
        program(&mut tree, systemd, "systemd", 0o755);
        assert_eq!(find(&tree), Some("/sbin/init"));
        tree.unlink(sbin, b"init");
        assert_eq!(find(&tree), Some("/lib/systemd/systemd"));
    }

    #[test]
    fn busybox_alone_is_no_init() {
        let mut tree = Tree::new(Meta::default());
        let bin = folder(&mut tree, Tree::ROOT, "bin");
        program(&mut tree, bin, "busybox", 0o755);
        let sbin = folder(&mut tree, Tree::ROOT, "sbin");
        tree.symlink(sbin, b"init", Meta::default(), b"/bin/busybox");
        assert_eq!(find(&tree), None);
        program(&mut tree, sbin, "openrc", 0o755);
        assert_eq!(find(&tree), Some("/sbin/init"));
    }
}
