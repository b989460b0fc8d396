//! Tars that a guest should send, and tars that it should not.

use super::*;
use crate::copy::{local::Source, pack::pack};
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
};
use tar::{Builder, Header};
use tempfile::TempDir;

const PLAIN: Keep = Keep { all: false };

/// A tar under construction that takes any name, as a hostile guest would.
struct Tar(Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    fn add(mut self, kind: EntryType, name: &[u8], link: &[u8], contents: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o4640 });
        header.set_size(contents.len() as u64);
        header.set_mtime(1_000_000_000);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.name[..name.len()].copy_from_slice(name);
        gnu.linkname[..link.len()].copy_from_slice(link);
        header.set_cksum();
        self.0.append(&header, contents).unwrap();
        self
    }

    fn folder(self, name: &str) -> Self {
        self.add(EntryType::Directory, name.as_bytes(), b"", b"")
    }

    fn file(self, name: &str, contents: &str) -> Self {
        self.add(EntryType::Regular, name.as_bytes(), b"", contents.as_bytes())
    }

    fn link(self, kind: EntryType, name: &str, target: &str) -> Self {
        self.add(kind, name.as_bytes(), target.as_bytes(), b"")
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// A folder to copy to, in a folder that must stay as it is.
struct Host {
    outer: TempDir,
}

impl Host {
    fn new() -> Self {
        let outer = tempfile::tempdir().unwrap();
        fs::create_dir(outer.path().join("to")).unwrap();
        fs::write(outer.path().join("secret"), "mine").unwrap();
        Self { outer }
    }

    fn to(&self) -> std::path::PathBuf {
        self.outer.path().join("to")
    }

    /// As `banger vm cp box:/x/top TO`.
    fn extract(&self, tar: Tar) -> Result<Summary, CopyError> {
        extract(&tar.bytes()[..], &Place::open(&self.to(), "top".into()).unwrap(), PLAIN)
    }

    /// Whatever was tried, nothing outside was touched.
    fn assert_untouched(&self) {
        assert_eq!(fs::read_to_string(self.outer.path().join("secret")).unwrap(), "mine");
        let mut names: Vec<_> = fs::read_dir(self.outer.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["secret", "to"]);
    }
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_tree_keeps_its_modes_times_and_links_through_both_ways() {
    let (from, host) = (tempfile::tempdir().unwrap(), Host::new());
    let source = from.path().join("tree");
    fs::create_dir_all(source.join("closed/deep")).unwrap();
    fs::write(source.join("run"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(source.join("run"), fs::Permissions::from_mode(0o751)).unwrap();
    fs::hard_link(source.join("run"), source.join("same")).unwrap();
    symlink("../nowhere", source.join("link")).unwrap();
    fs::write(source.join("closed/deep/".to_owned() + &"n".repeat(200)), vec![7; 100_000]).unwrap();
    fs::set_permissions(source.join("closed"), fs::Permissions::from_mode(0o500)).unwrap();
    let past = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: 981_173_106, tv_nsec: 0 },
    };
    for name in ["run", "closed", "."] {
        utimensat(rustix::fs::CWD, source.join(name), &past, AtFlags::empty()).unwrap();
    }

    let mut tar = Vec::new();
    let sent = pack(&mut tar, &Source::open(&source).unwrap(), PLAIN).unwrap();
    let place = Place::open(&host.to(), "renamed".into()).unwrap();
    let got = extract(&tar[..], &place, PLAIN).unwrap();

    assert_eq!(sent, got);
    assert_eq!((got.entries, got.bytes), (7, 100_010));
    let tree = host.to().join("renamed");
    let meta = |name: &str| fs::symlink_metadata(tree.join(name)).unwrap();
    assert_eq!(meta("run").mode() & 0o7777, 0o751);
    assert_eq!(meta("run").ino(), meta("same").ino());
    assert_eq!(meta("closed").mode() & 0o7777, 0o500);
    for name in ["run", "closed", "."] {
        assert_eq!(meta(name).mtime(), 981_173_106, "{name}");
    }
    assert_eq!(fs::read_link(tree.join("link")).unwrap(), Path::new("../nowhere"));
    assert_eq!(fs::read(tree.join("closed/deep").join("n".repeat(200))).unwrap(), vec![7; 100_000]);
    fs::set_permissions(tree.join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(source.join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn the_user_names_the_top_whatever_the_guest_calls_it() {
    let host = Host::new();
    host.extract(Tar::new().file(".bashrc", "evil")).unwrap();
    assert_eq!(read(host.to().join("top")), "evil");
    assert!(!host.to().join(".bashrc").exists());
    let host = Host::new();
    host.extract(Tar::new().folder(".").file("./a", "1")).unwrap();
    assert_eq!(read(host.to().join("top/a")), "1");
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for name in ["top/../../secret", "../secret", "/etc/cron.d/x", "other/secret", "..", "top/../secret"] {
        let host = Host::new();
        let refused = host.extract(Tar::new().folder("top").file(name, "evil")).unwrap_err();
        assert!(matches!(refused, CopyError::Hostile { .. }), "{name}: {refused}");
        host.assert_untouched();
    }
}

#[test]
fn links_of_the_guest_are_never_followed() {
    for target in ["..", "/", "../.."] {
        let host = Host::new();
        let tar = Tar::new().folder("top").link(EntryType::Symlink, "top/out", target).file("top/out/secret", "evil");
        assert!(host.extract(tar).is_err(), "{target}");
        host.assert_untouched();
    }
    // A file over a link replaces the link.
    let host = Host::new();
    let tar = Tar::new().folder("top").link(EntryType::Symlink, "top/out", "../../secret").file("top/out", "new");
    host.extract(tar).unwrap();
    assert_eq!(read(host.to().join("top/out")), "new");
    host.assert_untouched();
    // A folder's mode and times do not go through a link that took its place.
    let host = Host::new();
    let tar = Tar::new().folder("top").link(EntryType::Symlink, "top/d", "../..").folder("top/d");
    assert!(host.extract(tar).is_err());
    host.assert_untouched();
}

#[test]
fn hard_links_stay_below_the_place() {
    for target in ["../secret", "/etc/passwd", "other/secret", "top/out/secret"] {
        let host = Host::new();
        let tar = Tar::new()
            .folder("top")
            .link(EntryType::Symlink, "top/out", "../..")
            .link(EntryType::Link, "top/x", target)
            .file("top/x", "evil");
        assert!(host.extract(tar).is_err(), "{target}");
        host.assert_untouched();
    }
}

#[test]
fn the_users_own_links_are_not_followed_either() {
    let host = Host::new();
    fs::create_dir(host.to().join("top")).unwrap();
    symlink("../..", host.to().join("top/out")).unwrap();
    assert!(host.extract(Tar::new().folder("top").file("top/out/secret", "evil")).is_err());
    host.assert_untouched();
}

#[test]
fn what_exists_is_replaced_not_written_into() {
    let host = Host::new();
    fs::hard_link(host.outer.path().join("secret"), host.to().join("top")).unwrap();
    host.extract(Tar::new().file("top", "new")).unwrap();
    assert_eq!(read(host.to().join("top")), "new");
    host.assert_untouched();
    // But a folder full of the user's files is not.
    let host = Host::new();
    fs::create_dir(host.to().join("top")).unwrap();
    assert!(host.extract(Tar::new().file("top", "new")).is_err());
}

#[test]
fn no_devices_pipes_or_setuid_unless_asked() {
    let host = Host::new();
    let tar = Tar::new()
        .folder("top")
        .link(EntryType::Char, "top/null", "")
        .link(EntryType::Block, "top/sda", "")
        .link(EntryType::Fifo, "top/pipe", "")
        .file("top/su", "");
    let summary = host.extract(tar).unwrap();
    assert_eq!((summary.skipped, summary.entries), (3, 2));
    assert!(!host.to().join("top/null").exists() && !host.to().join("top/pipe").exists());
    assert_eq!(fs::metadata(host.to().join("top/su")).unwrap().mode() & 0o7777, 0o640);
    let keep = Keep { all: true };
    let tar = Tar::new().folder("top").link(EntryType::Fifo, "top/pipe", "").file("top/su", "").bytes();
    extract(&tar[..], &Place::open(&host.to(), "all".into()).unwrap(), keep).unwrap();
    assert_eq!(fs::metadata(host.to().join("all/su")).unwrap().mode() & 0o7777, 0o4640);
    assert!(host.to().join("all/pipe").exists());
}

#[test]
fn memory_is_bounded_whatever_a_header_says() {
    // A long name of a terabyte, of which the first bytes come.
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(1 << 40);
    header.set_cksum();
    for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader, EntryType::XGlobalHeader] {
        header.set_entry_type(kind);
        header.set_cksum();
        let tar = header.as_bytes().as_slice().chain(io::repeat(b'x'));
        let host = Host::new();
        let refused = extract(tar, &Place::open(&host.to(), "top".into()).unwrap(), PLAIN).unwrap_err();
        assert!(matches!(refused, CopyError::Tar(_)), "{refused:?}");
    }
    // A tree that never ends its descent.
    let host = Host::new();
    let mut tar = Builder::new(Vec::new());
    let mut deep = Header::new_gnu();
    deep.set_size(0);
    tar.append_data(&mut deep, "d/".repeat(300) + "f", io::empty()).unwrap();
    let bytes = tar.into_inner().unwrap();
    assert!(extract(&bytes[..], &Place::open(&host.to(), "top".into()).unwrap(), PLAIN).is_err());
}

#[test]
fn tars_that_are_cut_off_or_no_tars_are_errors() {
    let whole = Tar::new().folder("top").file("top/a", &"x".repeat(2000)).bytes();
    for length in [100, 600, 1200, 2000] {
        let host = Host::new();
        let place = Place::open(&host.to(), "top".into()).unwrap();
        assert!(extract(&whole[..length], &place, PLAIN).is_err(), "cut off at {length}");
    }
    let host = Host::new();
    let place = Place::open(&host.to(), "top".into()).unwrap();
    assert!(matches!(extract(&b""[..], &place, PLAIN), Err(CopyError::Nothing)));
    assert!(extract(&[b'<'; 2048][..], &place, PLAIN).is_err());
}

#[test]
fn files_with_holes_keep_them() {
    let sparse = |pieces: &[(u64, u64)], whole: u64, contents: &[u8]| {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::GNUSparse);
        header.set_size(contents.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(0);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.name[..3].copy_from_slice(b"top");
        gnu.set_real_size(whole);
        gnu.set_is_extended(pieces.len() > 4);
        for (slot, (offset, length)) in gnu.sparse.iter_mut().zip(pieces) {
            slot.set_offset(*offset);
            slot.set_length(*length);
        }
        header.set_cksum();
        let mut tar = header.as_bytes().to_vec();
        if let Some(rest) = pieces.get(4..).filter(|rest| !rest.is_empty()) {
            let mut more = tar::GnuExtSparseHeader::new();
            for (slot, (offset, length)) in more.sparse_mut().iter_mut().zip(rest) {
                slot.set_offset(*offset);
                slot.set_length(*length);
            }
            tar.extend(more.as_bytes());
        }
        tar.extend(contents);
        tar.resize(tar.len().next_multiple_of(512) + 1024, 0);
        let host = Host::new();
        let place = Place::open(&host.to(), "top".into()).unwrap();
        let summary = extract(&tar[..], &place, PLAIN)?;
        assert_eq!(summary.bytes, whole);
        Ok::<_, CopyError>(fs::read(host.to().join("top")).unwrap())
    };
    let file = sparse(&[(0, 2), (8192, 1), (10_000, 0)], 10_000, b"abc").unwrap();
    assert_eq!((file.len(), &file[..3], file[8192]), (10_000, b"ab\0".as_slice(), b'c'));
    let many: Vec<_> = (0..6).map(|n| (n * 1000, 1)).collect();
    let file = sparse(&many, 6000, b"abcdef").unwrap();
    assert_eq!((0..6).map(|n| file[n * 1000]).collect::<Vec<_>>(), b"abcdef");
    for (pieces, whole) in
        [(vec![(0, 2), (1, 1)], 10), (vec![(0, 2)], 10), (vec![(8, 3)], 10), (vec![(u64::MAX / 2, 3)], 10)]
    {
        assert!(sparse(&pieces, whole, b"abc").is_err(), "{pieces:?}");
    }
}

#[test]
fn times_of_pax_are_exact() {
    let mut tar = Builder::new(Vec::new());
    tar.append_pax_extensions([("mtime", b"1700000000.25".as_slice()), ("path", b"top/long".as_slice())]).unwrap();
    let mut header = Header::new_ustar();
    header.set_size(0);
    header.set_mode(0o600);
    header.set_mtime(0);
    tar.append_data(&mut header, "short", io::empty()).unwrap();
    let (host, bytes) = (Host::new(), tar.into_inner().unwrap());
    let place = Place::open(&host.to(), "top".into()).unwrap();
    extract(&bytes[..], &place, PLAIN).unwrap();
    let meta = fs::metadata(host.to().join("top/long")).unwrap();
    assert_eq!((meta.mtime(), meta.mtime_nsec()), (1_700_000_000, 250_000_000));
}

#[test]
fn where_a_copy_goes() {
    let host = Host::new();
    let place = |path: &str| Place::open(&host.outer.path().join(path), "name".into());
    assert_eq!(place("to").unwrap().name, "name");
    assert_eq!(place("to/").unwrap().name, "name");
    assert_eq!(place("to/new").unwrap().name, "new");
    assert_eq!(place("secret").unwrap().name, "secret");
    assert!(place("missing/new").is_err());
    assert!(place("missing/").is_err());
}

proptest::proptest! {
    #[test]
    fn hostile_bytes_never_panic_nor_escape(bytes: Vec<u8>, name in "[a-z./]{0,40}") {
        let host = Host::new();
        let place = Place::open(&host.to(), "top".into()).unwrap();
        let _ = extract(&bytes[..], &place, PLAIN);
        let mut header = Header::new_gnu();
        header.set_size(0);
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        let _ = extract(&[header.as_bytes().as_slice(), &[0; 1024]].concat()[..], &place, PLAIN);
        host.assert_untouched();
    }
}
