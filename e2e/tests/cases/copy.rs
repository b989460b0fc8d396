//! `vm cp`: files and folders both ways, with their modes and times.

use crate::shared::{sandbox, vm};
use banger_e2e::sandbox::entries;
use std::{
    fs,
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

/// A folder of this test's own on both sides.
fn place(name: &str) -> (PathBuf, String) {
    let local = sandbox().scratch().join(name);
    fs::create_dir_all(&local).unwrap();
    let guest = format!("/root/{name}");
    vm().exec("mkdir -p").arg(&guest).run().ok();
    (local, guest)
}

fn cp(from: impl AsRef<Path>, to: impl AsRef<Path>) -> banger_e2e::Output {
    sandbox().banger("vm cp").arg(from.as_ref()).arg(to.as_ref()).run()
}

fn write(path: &Path, content: &[u8], mode: u32, seconds: u64) {
    fs::write(path, content).unwrap();
    let time = UNIX_EPOCH + Duration::from_secs(seconds);
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    // Last: it may forbid its owner to write.
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_file_keeps_its_mode_and_time_both_ways() {
    let (local, guest) = place("one-file");
    write(&local.join("tool"), b"#!/bin/sh\necho hi\n", 0o750, 1_234_567_890);
    cp(local.join("tool"), format!("shared:{guest}/tool")).ok();
    let stat = vm().exec("stat -c").arg("%a %Y %s").arg(format!("{guest}/tool")).run();
    assert_eq!(stat.ok(), "750 1234567890 18");
    assert_eq!(vm().exec(&format!("{guest}/tool")).run().ok(), "hi");
    cp(format!("shared:{guest}/tool"), local.join("back")).ok();
    let back = fs::metadata(local.join("back")).unwrap();
    assert_eq!((back.mode() & 0o7777, back.mtime()), (0o750, 1_234_567_890));
    assert_eq!(fs::read(local.join("back")).unwrap(), b"#!/bin/sh\necho hi\n");
}

#[test]
fn holes_are_not_carried_in_either_direction() {
    let (local, guest) = place("holes");
    // Larger than the guest's disk, and than the patience of anybody who sends zeros.
    let (size, at) = (48 << 30, 17 << 30);
    let file = fs::File::create(local.join("sparse")).unwrap();
    file.set_len(size).unwrap();
    file.write_all_at(b"in the middle", at).unwrap();
    cp(local.join("sparse"), format!("shared:{guest}/")).ok();
    let there = vm().sh(&format!("cd {guest} && stat -c %s sparse && du -k sparse | cut -f1")).run();
    let (seen, taken) = there.ok().split_once('\n').unwrap();
    assert!(seen == size.to_string() && taken.parse::<u64>().unwrap() < 64, "{there}");
    cp(format!("shared:{guest}/sparse"), local.join("back")).ok();
    let back = fs::File::open(local.join("back")).unwrap();
    let mut bytes = [0; 15];
    back.read_exact_at(&mut bytes, at - 1).unwrap();
    assert_eq!((&bytes, back.metadata().unwrap().len()), (b"\0in the middle\0", size));
    assert!(back.metadata().unwrap().blocks() < 128, "{:?}", back.metadata().unwrap());
    vm().exec("rm").arg(format!("{guest}/sparse")).run().ok();
}

#[test]
fn a_folder_goes_whole_and_comes_back_the_same() {
    let (local, guest) = place("tree");
    let tree = local.join("src");
    fs::create_dir_all(tree.join("deep/er")).unwrap();
    fs::create_dir(tree.join("empty")).unwrap();
    write(&tree.join("a"), b"a", 0o644, 1_000_000_000);
    write(&tree.join("deep/er/b"), &vec![7; 3 << 20], 0o600, 1_100_000_000);
    write(&tree.join("name with  spaces ü"), b"", 0o444, 1_200_000_000);
    symlink("a", tree.join("link")).unwrap();
    symlink("/nowhere", tree.join("dangling")).unwrap();
    cp(&tree, format!("shared:{guest}/")).ok();
    let listed = vm().sh(&format!("cd {guest}/src && find . | sort")).run();
    assert_eq!(listed.ok().lines().count(), 9, "{listed}");
    cp(format!("shared:{guest}/src"), local.join("back")).ok();
    assert_same(&tree, &local.join("back"));
}

fn assert_same(one: &Path, other: &Path) {
    let (a, b) = (fs::symlink_metadata(one).unwrap(), fs::symlink_metadata(other).unwrap());
    assert_eq!((a.mode(), a.is_dir()), (b.mode(), b.is_dir()), "{}", other.display());
    if a.is_dir() {
        let names = |dir: &Path| entries(dir).iter().map(|e| e.file_name().unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!(names(one), names(other));
        for name in names(one) {
            assert_same(&one.join(&name), &other.join(&name));
        }
    } else if a.is_symlink() {
        assert_eq!(fs::read_link(one).unwrap(), fs::read_link(other).unwrap());
    } else {
        assert_eq!(a.mtime(), b.mtime(), "{}", other.display());
        assert!(fs::read(one).unwrap() == fs::read(other).unwrap(), "{}", other.display());
    }
}

#[test]
fn into_a_folder_that_is_there_and_under_a_new_name() {
    let (local, guest) = place("targets");
    write(&local.join("f"), b"x", 0o644, 1_000_000_000);
    cp(local.join("f"), format!("shared:{guest}")).ok();
    cp(local.join("f"), format!("shared:{guest}/g")).ok();
    assert_eq!(vm().exec(&format!("ls {guest}")).run().ok(), "f\ng");
}

#[test]
fn what_is_not_there_is_named_and_nothing_is_made() {
    let (local, guest) = place("missing");
    cp(local.join("none"), format!("shared:{guest}/x")).fails_with(&["none"]);
    cp(format!("shared:{guest}/none"), local.join("x")).fails_with(&[&format!("{guest}/none")]);
    cp(local.join("a"), local.join("b")).fails_with(&[]);
    cp("nobody:/etc/passwd", local.join("x")).fails_with(&["nobody"]);
    assert_eq!(entries(&local), Vec::<PathBuf>::new());
    assert_eq!(vm().exec(&format!("ls -A {guest}")).run().ok(), "");
}

#[test]
fn a_tar_from_the_guest_cannot_write_outside_the_folder_it_is_copied_to() {
    let (local, guest) = place("hostile");
    // The guest may change what it is asked for while it is read; a link to a folder of the host is the easy case.
    let outside = local.join("outside");
    fs::create_dir(&outside).unwrap();
    vm().sh(&format!("mkdir {guest}/t && ln -s {} {guest}/t/link && echo x >{guest}/t/z", outside.display()))
        .run()
        .ok();
    cp(format!("shared:{guest}/t"), local.join("t")).ok();
    vm().sh(&format!("rm {guest}/t/link && mkdir {guest}/t/link && echo evil >{guest}/t/link/file")).run().ok();
    let _ = cp(format!("shared:{guest}/t/link"), local.join("t"));
    assert_eq!(entries(&outside), Vec::<PathBuf>::new(), "the copy went through a link");
}
