//! Copies: what comes out is what went in, and nothing lands where it should not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod support;

use banger_model::wire::frame::MAX_DATA;
use banger_model::wire::guest::{CopyIn, ExitStatus, Refusal, Reply, Request};
use banger_model::wire::{Body, Stream};
use bytes::Bytes;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT, XattrFlags, setxattr, utimensat};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{Agent, Outcome, sh, skipped_without_root};
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

/// Sends `tar` to `path` in the guest.
fn copy_in(agent: &mut Agent, path: &Path, tar: &[u8]) -> Outcome {
    let owner = None;
    let channel = agent.open(Request::CopyIn(CopyIn { path: path.display().to_string(), owner }));
    assert!(matches!(agent.next(channel), Body::Accept(reply) if *reply == Reply::Done));
    let mut credit = banger_model::wire::frame::INITIAL_WINDOW as usize;
    let mut rest = tar;
    while !rest.is_empty() {
        let (piece, tail) = rest.split_at(rest.len().min(MAX_DATA).min(credit));
        rest = tail;
        credit -= piece.len();
        agent.send(channel, Body::Data(Stream::Stdin, Bytes::copy_from_slice(piece)));
        while credit == 0 {
            match agent.next(channel) {
                Body::Credit(Stream::Stdin, bytes) => credit += bytes as usize,
                // It gave up; what it says of that is still to be had.
                body @ (Body::Exit(_) | Body::Data(..) | Body::Eof(_)) => {
                    agent.put_back(channel, body);
                    return agent.finish(channel);
                }
                other => panic!("{other:?}"),
            }
        }
    }
    agent.send(channel, Body::Eof(Stream::Stdin));
    agent.finish(channel)
}

fn copy_out(agent: &mut Agent, path: &Path) -> Outcome {
    let channel = agent.open(Request::CopyOut { path: path.display().to_string() });
    match agent.next(channel) {
        Body::Accept(reply) if *reply == Reply::Done => agent.finish(channel),
        other => panic!("{other:?}"),
    }
}

fn succeeded(outcome: &Outcome) {
    assert_eq!(outcome.status, ExitStatus::Code(0), "{}", String::from_utf8_lossy(&outcome.stderr));
}

/// All that is worth comparing of a tree, by path.
fn picture(top: &Path) -> BTreeMap<PathBuf, String> {
    fn add(path: &Path, top: &Path, picture: &mut BTreeMap<PathBuf, String>) {
        let meta = fs::symlink_metadata(path).unwrap();
        let kind = meta.file_type();
        let content = match () {
            () if kind.is_symlink() => format!("-> {:?}", fs::read_link(path).unwrap()),
            () if kind.is_file() => {
                let content = fs::read(path).unwrap();
                let sum = content.iter().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
                format!("{} bytes {sum}, {} blocks, {} links", content.len(), meta.blocks(), meta.nlink())
            }
            () => String::new(),
        };
        let said = format!(
            "{:o} {}:{} {}.{:09} {content}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.mtime(),
            meta.mtime_nsec()
        );
        picture.insert(path.strip_prefix(top).unwrap().to_owned(), said);
        if kind.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                add(&entry.unwrap().path(), top, picture);
            }
        }
    }
    let mut seen = BTreeMap::new();
    add(top, top, &mut seen);
    seen
}

fn touch(path: &Path, seconds: i64, nanoseconds: i64) {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanoseconds },
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// A tree with a bit of everything that an ordinary user can make.
fn tree(top: &Path) {
    let make = |name: &str, text: &[u8], mode: u32| {
        fs::write(top.join(name), text).unwrap();
        fs::set_permissions(top.join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    fs::create_dir_all(top.join("folder/empty")).unwrap();
    make("plain", b"text\n", 0o644);
    make("program", b"#!/bin/sh\n", 0o4755);
    make("secret", b"", 0o600);
    make("large", &vec![b'x'; 300_000], 0o640);
    fs::hard_link(top.join("plain"), top.join("folder/other-name")).unwrap();
    symlink("../nowhere", top.join("folder/dangling")).unwrap();
    symlink("folder", top.join("link-to-folder")).unwrap();
    let long = "n".repeat(200);
    make(&long, b"long", 0o644);
    symlink("t".repeat(300), top.join("long-link")).unwrap();
    fs::write(top.join(OsStr::new("späce and\nline")), "odd").unwrap();
    let sparse = fs::File::create(top.join("sparse")).unwrap();
    for (at, text) in [(1 << 20, "one"), (6 << 20, "two")] {
        std::os::unix::fs::FileExt::write_all_at(&sparse, text.as_bytes(), at).unwrap();
    }
    sparse.set_len(8 << 20).unwrap();
    let holes = fs::File::create(top.join("many-holes")).unwrap();
    for piece in 0..100 {
        std::os::unix::fs::FileExt::write_all_at(&holes, b"x", piece * 16_384).unwrap();
    }
    fs::File::create(top.join("only-a-hole")).unwrap().set_len(2 << 20).unwrap();
    rustix::fs::mkfifoat(CWD, top.join("fifo"), 0o600.into()).unwrap();
    touch(&top.join("plain"), 1_000_000_000, 123_456_789);
    touch(&top.join("secret"), -5, 250_000_000);
    touch(&top.join("folder/dangling"), 1_100_000_000, 1);
    touch(&top.join("folder"), 1_200_000_000, 999_999_999);
    fs::create_dir(top.join("closed")).unwrap();
    make("closed/file", b"in a folder that cannot be written", 0o444);
    touch(&top.join("closed"), 1_300_000_000, 5);
    fs::set_permissions(top.join("closed"), fs::Permissions::from_mode(0o555)).unwrap();
    touch(top, 1_400_000_000, 7);
}

/// So that the folder can be removed by whoever made it.
fn open_up(top: &Path) {
    let _ = fs::set_permissions(top.join("closed"), fs::Permissions::from_mode(0o755));
}

fn places() -> (TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::create_dir(&source).unwrap();
    (folder, source, target)
}

#[test]
fn a_tree_comes_back_as_it_was() {
    let (_folder, source, target) = places();
    tree(&source);
    let mut agent = Agent::start();
    let sent = copy_out(&mut agent, &source);
    succeeded(&sent);
    assert!(sent.stdout.len() < 2 << 20, "holes are sent as holes, not as {} bytes", sent.stdout.len());
    succeeded(&copy_in(&mut agent, &target, &sent.stdout));
    let (before, after) = (picture(&source), picture(&target));
    for (path, was) in &before {
        assert_eq!(Some(was), after.get(path), "{}", path.display());
    }
    assert_eq!(before.len(), after.len());
    // Once more over itself, into the folder that is now there under the top entry's own name.
    fs::create_dir(target.join("inner")).unwrap();
    for _ in 0..2 {
        if !rustix::process::geteuid().is_root() {
            // Nobody else could write into what the round before has closed.
            open_up(&target.join("inner/source"));
        }
        succeeded(&copy_in(&mut agent, &target.join("inner"), &sent.stdout));
        assert_eq!(picture(&target.join("inner/source")), before);
    }
    for top in [&source, &target, &target.join("inner/source")] {
        open_up(top);
    }
}

#[test]
fn gnu_tar_reads_what_is_sent_and_its_own_is_read() {
    let (_folder, source, target) = places();
    tree(&source);
    let mut agent = Agent::start();
    let sent = copy_out(&mut agent, &source);
    fs::create_dir(&target).unwrap();
    let mut tar = Command::new("tar").args(["-xp", "-C"]).arg(&target).stdin(Stdio::piped()).spawn().unwrap();
    tar.stdin.take().unwrap().write_all(&sent.stdout).unwrap();
    assert!(tar.wait().unwrap().success());
    let before = picture(&source);
    assert_eq!(picture(&target.join("source")), before);
    for format in ["gnu", "posix"] {
        let made = Command::new("tar")
            .args(["-c", "--format", format, "-C"])
            .arg(source.parent().unwrap())
            .arg("source")
            .output()
            .unwrap();
        assert!(made.status.success());
        let there = target.join(format);
        succeeded(&copy_in(&mut agent, &there, &made.stdout));
        let after = picture(&there);
        let whole = |picture: &BTreeMap<PathBuf, String>| {
            // GNU's own format has no fractions of a second.
            picture
                .iter()
                .map(|(path, said)| (path.clone(), if format == "gnu" { strip(said) } else { said.clone() }))
                .collect::<Vec<_>>()
        };
        assert_eq!(whole(&after), whole(&before), "{format}");
        open_up(&there);
    }
    open_up(&source);
    open_up(&target.join("source"));
}

fn strip(said: &str) -> String {
    let (first, rest) = said.split_once('.').unwrap();
    // Before the epoch, whole seconds are rounded in either direction.
    let first = first.replace(" -5", " -4");
    first + &rest[9..]
}

#[test]
fn a_single_file_takes_the_name_asked_for_or_goes_into_the_folder() {
    let (folder, source, target) = places();
    fs::write(source.join("file"), "new").unwrap();
    let mut agent = Agent::start();
    let sent = copy_out(&mut agent, &source.join("file"));
    succeeded(&copy_in(&mut agent, &target, &sent.stdout));
    assert_eq!(fs::read_to_string(&target).unwrap(), "new");
    let into = folder.path().join("into");
    fs::create_dir(&into).unwrap();
    fs::write(into.join("file"), "old and longer").unwrap();
    let open = fs::File::open(into.join("file")).unwrap();
    succeeded(&copy_in(&mut agent, &into, &sent.stdout));
    assert_eq!(fs::read_to_string(into.join("file")).unwrap(), "new");
    assert_eq!(open.metadata().unwrap().len(), 14, "who has the old file open keeps it");
}

#[test]
fn a_link_is_copied_and_with_a_slash_what_it_leads_to() {
    let (_folder, source, target) = places();
    fs::create_dir(source.join("real")).unwrap();
    fs::write(source.join("real/file"), "x").unwrap();
    symlink("real", source.join("link")).unwrap();
    let mut agent = Agent::start();
    let sent = copy_out(&mut agent, &source.join("link"));
    succeeded(&copy_in(&mut agent, &target, &sent.stdout));
    assert_eq!(fs::read_link(&target).unwrap(), Path::new("real"));
    let sent = copy_out(&mut agent, Path::new(&format!("{}/", source.join("link").display())));
    let there = source.join("there");
    succeeded(&copy_in(&mut agent, &there, &sent.stdout));
    assert_eq!(fs::read_to_string(there.join("file")).unwrap(), "x");
}

#[test]
fn what_cannot_be_copied_is_refused() {
    let (_folder, source, _) = places();
    fs::write(source.join("file"), "x").unwrap();
    let mut agent = Agent::start();
    let shown = |path: &Path| path.display().to_string();
    for path in [
        shown(&source.join("none")),
        "relative".into(),
        "/".into(),
        String::new(),
        shown(&source.join("file/below")),
        "/..".into(),
        shown(&source.join("file")) + "/",
    ] {
        match agent.refusal(Request::CopyOut { path: path.clone() }) {
            Refusal::Path { path: named, .. } => assert_eq!(named, path),
            other => panic!("{path}: {other:?}"),
        }
    }
    for path in [
        shown(&source.join("none/below")),
        "relative".into(),
        String::new(),
        shown(&source.join("file/below")),
        shown(&source.join("none")) + "/",
    ] {
        match agent.refusal(Request::CopyIn(CopyIn { path: path.clone(), owner: None })) {
            Refusal::Path { path: named, .. } => assert_eq!(named, path),
            other => panic!("{path}: {other:?}"),
        }
    }
}

#[test]
fn extended_attributes_are_kept() {
    let (_folder, source, target) = places();
    fs::write(source.join("file"), "x").unwrap();
    let set = |path: &Path| setxattr(path, "user.banger", b"a\0b\n", XattrFlags::empty());
    if let Err(error) = set(&source.join("file")).and_then(|()| set(&source)) {
        eprintln!("SKIPPED: extended_attributes_are_kept: {}: {error}", source.display());
        return;
    }
    let mut agent = Agent::start();
    let sent = copy_out(&mut agent, &source);
    succeeded(&copy_in(&mut agent, &target, &sent.stdout));
    for path in [target.join("file"), target] {
        let mut value = [0; 64];
        let length = rustix::fs::getxattr(&path, "user.banger", &mut value).unwrap();
        assert_eq!(&value[..length], b"a\0b\n");
    }
}

#[test]
fn needs_root_owners_devices_and_capabilities_are_kept() {
    if skipped_without_root("needs_root_owners_devices_and_capabilities_are_kept") {
        return;
    }
    let (_folder, source, target) = places();
    fs::write(source.join("file"), "x").unwrap();
    std::os::unix::fs::chown(source.join("file"), Some(4_000_000), Some(4343)).unwrap();
    fs::set_permissions(source.join("file"), fs::Permissions::from_mode(0o6755)).unwrap();
    symlink("x", source.join("link")).unwrap();
    std::os::unix::fs::lchown(source.join("link"), Some(7), Some(8)).unwrap();
    let mut capability = vec![1, 0, 0, 2, 0, 4];
    capability.resize(20, 0);
    let capable = setxattr(source.join("file"), "security.capability", &capability, XattrFlags::empty()).is_ok();
    let mut agent = Agent::start();
    let sent = copy_out(&mut agent, &source);
    succeeded(&copy_in(&mut agent, &target, &sent.stdout));
    assert_eq!(picture(&target), picture(&source));
    if capable {
        let mut value = [0; 64];
        assert_eq!(rustix::fs::getxattr(target.join("file"), "security.capability", &mut value), Ok(20));
    }
    let owner = Some((9, 10));
    let there = target.join("owned");
    let channel = agent.open(Request::CopyIn(CopyIn { path: there.display().to_string(), owner }));
    assert!(matches!(agent.next(channel), Body::Accept(_)));
    agent.send(channel, Body::Data(Stream::Stdin, Bytes::from(single("a", EntryType::Regular, "", 0o644))));
    agent.send(channel, Body::Eof(Stream::Stdin));
    succeeded(&agent.finish(channel));
    let meta = fs::metadata(&there).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (9, 10));
}

fn header(path: &str, kind: EntryType, link: &str, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    let old = header.as_old_mut();
    old.name[..path.len()].copy_from_slice(path.as_bytes());
    old.linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(u64::from(rustix::process::geteuid().as_raw()));
    header.set_gid(u64::from(rustix::process::getegid().as_raw()));
    header.set_mtime(1);
    header.set_size(0);
    header.set_cksum();
    header
}

fn single(path: &str, kind: EntryType, link: &str, mode: u32) -> Vec<u8> {
    archive(&[(path, kind, link)], mode)
}

fn archive(entries: &[(&str, EntryType, &str)], mode: u32) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (path, kind, link) in entries {
        builder.append(&header(path, *kind, link, mode), std::io::empty()).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn hostile_tars_are_refused_and_reach_nothing_outside() {
    use EntryType::{Directory, Link, Regular, Symlink};
    let (folder, _, target) = places();
    let outside = folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "mine").unwrap();
    let before = picture(&outside);
    let out = outside.display().to_string();
    let mut agent = Agent::start();
    type Entries = Vec<(&'static str, EntryType, &'static str)>;
    let out: &'static str = out.leak();
    let tars: Vec<(&str, Entries)> = vec![
        ("up", vec![("../outside/file", Regular, "")]),
        ("up from within", vec![("top", Directory, ""), ("top/../../outside/file", Regular, "")]),
        ("absolute", vec![("/etc/passwd-of-nobody", Regular, "")]),
        ("nothing", vec![(".", Directory, "")]),
        ("two tops", vec![("top", Directory, ""), ("other", Regular, "")]),
        ("through a link", vec![("top", Directory, ""), ("top/l", Symlink, out), ("top/l/file", Regular, "")]),
        ("the top is a link", vec![("top", Symlink, out), ("top/file", Regular, "")]),
        ("a folder where a link is", vec![("top", Directory, ""), ("top/l", Symlink, out), ("top/l", Directory, "")]),
        ("a hard link up", vec![("top", Directory, ""), ("top/h", Link, "../outside/file")]),
        ("a hard link by a link", vec![("top", Directory, ""), ("top/l", Symlink, out), ("top/h", Link, "top/l/file")]),
        ("a hard link to nothing", vec![("top", Directory, ""), ("top/h", Link, "top/none")]),
        ("a link to nothing at all", vec![("top", Symlink, "")]),
        ("an unknown kind", vec![("top", EntryType::new(b'Z'), "")]),
        ("a file where a folder is", vec![("top", Directory, ""), ("top/f", Directory, ""), ("top/f", Regular, "")]),
        ("a folder below a file", vec![("top", Directory, ""), ("top/f", Regular, ""), ("top/f/g", Directory, "")]),
        ("no entry", vec![]),
    ];
    for (name, entries) in tars {
        let outcome = copy_in(&mut agent, &target, &archive(&entries, 0o755));
        assert_eq!(outcome.status, ExitStatus::Code(1), "{name}");
        assert!(!outcome.stderr.is_empty(), "{name}");
        assert_eq!(picture(&outside), before, "{name}");
        let _ = fs::remove_dir_all(&target);
        let _ = fs::remove_file(&target);
    }
    assert!(!Path::new("/etc/passwd-of-nobody").exists());
}

#[test]
fn links_that_are_there_are_not_followed() {
    let (folder, _, target) = places();
    let outside = folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::create_dir(&target).unwrap();
    symlink(&outside, target.join("top")).unwrap();
    let mut agent = Agent::start();
    let tar = archive(&[("top", EntryType::Directory, ""), ("top/file", EntryType::Regular, "")], 0o755);
    assert_eq!(copy_in(&mut agent, &target, &tar).status, ExitStatus::Code(1));
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    // A file takes a link's place.
    symlink(outside.join("file"), target.join("file")).unwrap();
    succeeded(&copy_in(&mut agent, &target, &single("file", EntryType::Regular, "", 0o600)));
    assert!(target.join("file").symlink_metadata().unwrap().is_file());
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn a_stream_that_breaks_off_or_is_none_leaves_no_half_file() {
    let (_folder, _, target) = places();
    let mut large = header("file", EntryType::Regular, "", 0o644);
    large.set_size(1 << 20);
    large.set_cksum();
    let mut cut = large.as_bytes().to_vec();
    cut.extend(vec![b'x'; 100_000]);
    let mut agent = Agent::start();
    let mut bad_sum = single("file", EntryType::Regular, "", 0o644);
    bad_sum[0] = b'g';
    for tar in [cut, bad_sum, b"<html>no tar</html>".repeat(100), vec![0xff; 5000]] {
        let outcome = copy_in(&mut agent, &target, &tar);
        assert_eq!(outcome.status, ExitStatus::Code(1));
        assert!(!target.exists());
    }
}

#[test]
fn a_copy_that_nobody_wants_ends() {
    let (_folder, source, _) = places();
    fs::File::create(source.join("huge")).unwrap().set_len(1 << 40).unwrap();
    std::os::unix::fs::FileExt::write_all_at(
        &fs::OpenOptions::new().write(true).open(source.join("huge")).unwrap(),
        &vec![1; 4 << 20],
        0,
    )
    .unwrap();
    let mut agent = Agent::start();
    let channel = agent.open(Request::CopyOut { path: source.display().to_string() });
    assert!(matches!(agent.next(channel), Body::Accept(_)));
    assert!(matches!(agent.next(channel), Body::Data(..)));
    agent.send(channel, Body::Close);
    assert_eq!(agent.finish(channel).status, ExitStatus::Signal(9));
    assert_eq!(agent.run(sh("exit 0")).status, ExitStatus::Code(0));
}
