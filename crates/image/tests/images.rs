//! Images from sources to file systems, and what becomes of sources that are not what they should be.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::disallowed_methods
)]

mod disk;

use banger_image::cancel::Cancel;
use banger_image::disk::make_work;
use banger_image::image::{self, ImageError, PullOptions};
use banger_image::progress::{NoProgress, Progress};
use banger_model::{ByteSize, ImageRef};
use disk::{Head, Pack, Place, Tar, assert_clean, bytes_at, cat, chain, layer, listing, open, seal};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;

/// A capability set as the system call takes it: `cap_net_raw+ep`.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn every_kind() -> Vec<u8> {
    let long = format!("etc/{}/{}", "long-name-".repeat(20), "x".repeat(200));
    Tar::default()
        .head(&Head { mode: 0o711, owner: (0, 7), ..Head::new("./", b'5') })
        .dir("./etc/")
        .file("./etc/passwd", b"root:x:0:0::/root:/bin/sh\n")
        .head(&Head { mode: 0o4755, owner: (1000, 100), ..Head::new("setuid", b'0') })
        .head(&Head { mode: 0o1777, ..Head::new("tmp", b'5') })
        .symlink("fast", "etc/passwd")
        .symlink("slow", &"t".repeat(99))
        .link("hard", "./etc/passwd")
        .head(&Head { device: (5, 1), mode: 0o600, ..Head::new("dev/console", b'3') })
        .head(&Head { device: (259, 70_000), ..Head::new("dev/large", b'4') })
        .head(&Head { mode: 0o640, ..Head::new("dev/pipe", b'6') })
        .pax(&[
            ("mtime", b"1234567890.123456789"),
            ("SCHILY.xattr.security.capability", &CAPABILITY),
            ("SCHILY.xattr.user.binary", b"\0\n=\xff"),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.com.example", b"no such space"),
        ])
        .file("ping", b"\x7fELF")
        .pax(&[("path", long.as_bytes()), ("uid", b"3000000")])
        .file("short", b"long")
        .head(&Head { size: 300, ..Head::new("././@LongLink", b'L') })
        .raw(format!("gnu/{}\0", "g".repeat(295)[..200].to_owned() + &"/h".repeat(47)).as_bytes())
        .file("gnu", b"gnu")
        .file("empty", b"")
        .end()
}

#[test]
fn a_root_tar_with_every_kind_of_entry() {
    let place = Place::new();
    let image = place.rootfs(&every_kind()).unwrap();
    let root = place.root(&image);
    assert_clean(&root);
    let fs = open(&root);
    let told = listing(&root);
    for expected in [
        "/etc/passwd 100644 0:0 links 2",
        "/hard 100644 0:0 links 2",
        "/setuid 104755 1000:100 links 1",
        "/tmp 41777 0:0 links 2",
        "/fast 120644 0:0 links 1",
        "/dev 40755 0:0 links 2",
        "/dev/console 20600 0:0 links 1",
        "/dev/large 60644 0:0 links 1",
        "/dev/pipe 10640 0:0 links 1",
        "/root 40700 0:0 links 2",
    ] {
        assert!(told.iter().any(|line| line == expected), "{expected} is not in {told:#?}");
    }
    assert_eq!(fs.inode(fs.resolve("/").unwrap()).unwrap().mode, 0o40711);
    assert_eq!(cat(&root, "/etc/passwd"), b"root:x:0:0::/root:/bin/sh\n");
    assert_eq!(fs.resolve("/hard").unwrap(), fs.resolve("/etc/passwd").unwrap());
    assert_eq!(fs.symlink_target(fs.resolve("/slow").unwrap()).unwrap(), "t".repeat(99).as_bytes());
    let ping = fs.inode(fs.resolve("/ping").unwrap()).unwrap();
    assert_eq!((ping.mtime, ping.mtime_extra >> 2), (1_234_567_890, 123_456_789));
    let mut xattrs: Vec<_> =
        fs.xattrs(fs.resolve("/ping").unwrap()).unwrap().into_iter().map(|x| (x.name, x.value)).collect();
    xattrs.sort();
    assert_eq!(xattrs, [(b"binary".to_vec(), b"\0\n=\xff".to_vec()), (b"capability".to_vec(), CAPABILITY.to_vec())]);
    let long = format!("/etc/{}/{}", "long-name-".repeat(20), "x".repeat(200));
    assert_eq!(fs.inode(fs.resolve(&long).unwrap()).unwrap().uid, 3_000_000);
    assert_eq!(cat(&root, &format!("/gnu/{}{}", "g".repeat(200), "/h".repeat(47))), b"gnu");
}

#[test]
fn the_same_bytes_give_the_same_image() {
    let (one, two) = (Place::new(), Place::new());
    let (a, b) = (one.rootfs(&every_kind()).unwrap(), two.rootfs(&every_kind()).unwrap());
    assert_eq!(a.digest, b.digest);
    // Where the superblock, the first inodes and folders are; all of it would be 16 GiB of holes.
    let head = |place: &Place, image| {
        let mut bytes = Vec::new();
        fs::File::open(place.root(image)).unwrap().take(8 << 20).read_to_end(&mut bytes).unwrap();
        disk::sha256(&bytes)
    };
    assert_eq!(head(&one, &a), head(&two, &b));
}

#[test]
fn layers_in_every_packing() {
    let place = Place::new();
    let lower = Tar::default().dir("a").file("a/gone", &[1; 9000]).file("a/kept", &[2; 9000]).file("b", b"old").end();
    let middle = Tar::default().file("a/.wh.gone", b"").file("b", b"new").link("c", "a/kept").end();
    let upper = Tar::default().dir("root").file("root/.profile", b"hello").symlink("sbin", "usr/sbin").end();
    let layers = [layer(&lower, Pack::Plain), layer(&middle, Pack::Gzip), layer(&upper, Pack::Zstd)];
    let image = place.layers(&layers).unwrap();
    let root = place.root(&image);
    assert_clean(&root);
    assert_eq!(cat(&root, "/a/kept"), [2; 9000]);
    assert_eq!(cat(&root, "/b"), b"new");
    let fs = open(&root);
    assert!(fs.resolve("/a/gone").is_err());
    assert_eq!(fs.resolve("/c").unwrap(), fs.resolve("/a/kept").unwrap());
    assert_eq!(image.manifest.config.env, ["A=b"]);
    assert!(image.manifest.init.is_none() && image.manifest.warnings.is_empty());
}

#[test]
fn hidden_names_that_links_lead_to_are_read_again() {
    let place = Place::new();
    let lower = Tar::default().file("first", &[7; 100_000]).link("second", "first").end();
    let upper = Tar::default().file(".wh.first", b"").end();
    let image = place.layers(&[layer(&lower, Pack::Gzip), layer(&upper, Pack::Plain)]).unwrap();
    let root = place.root(&image);
    assert_clean(&root);
    assert_eq!(cat(&root, "/second"), [7; 100_000]);
    assert!(open(&root).resolve("/first").is_err());
}

#[test]
fn several_members_and_trailing_zeros() {
    let place = Place::new();
    let mut tar = Tar::default().file("a", &[3; 5000]).end();
    tar.resize(tar.len() + 100_000, 0);
    let (front, back) = tar.split_at(3000);
    for pack in [Pack::Gzip, Pack::Zstd] {
        let mut all = layer(&tar, pack);
        all.stored = [pack.pack(front), pack.pack(back)].concat();
        let image = place.layers(&[all]).unwrap();
        assert_eq!(cat(&place.root(&image), "/a"), [3; 5000]);
    }
}

#[test]
fn xz_root_tars() {
    let place = Place::new();
    let path = place.dir.path().join("root.tar.xz");
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    std::io::Write::write_all(&mut encoder, &Tar::default().file("a", b"xz").end()).unwrap();
    fs::write(&path, encoder.finish().unwrap()).unwrap();
    let image = place.pull(&format!("rootfs:{}", path.display())).unwrap();
    assert_eq!(cat(&place.root(&image), "/a"), b"xz");
}

/// What a tar made of `build` is refused with; nothing may be left.
fn refused(tar: Vec<u8>) -> String {
    let place = Place::new();
    let error = place.rootfs(&tar).unwrap_err();
    place.assert_empty();
    chain(&error)
}

#[test]
fn hostile_tars_are_refused_with_a_reason() {
    let mut broken = Head::new("a", b'0').block();
    broken[0] = b'b';
    let mut sparse = Head { size: 512, ..Head::new("holes", b'S') }.block();
    sparse[386..398].copy_from_slice(b"00000001000\0");
    sparse[398..410].copy_from_slice(b"00000001000\0");
    sparse[483..495].copy_from_slice(b"00000000010\0");
    seal(&mut sparse);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (
            Tar::default().file("../../etc/passwd", b"x").end(),
            "../../etc/passwd cannot be unpacked: its path has \"..\" in it",
        ),
        (Tar::default().file("a/../b", b"x").end(), "a/../b cannot be unpacked"),
        (
            Tar::default().head(&Head { name: b"caf\xe9", ..Head::new("", b'0') }).end(),
            r"caf\xe9 cannot be unpacked: its name is not UTF-8",
        ),
        (Tar::default().raw(&broken).end(), "checksum is wrong"),
        (Tar::default().raw(&[b'<'; 2000]).end(), "checksum is wrong"),
        (
            Tar::default().head(&Head { size: 1 << 60, ..Head::new("big", b'0') }).end(),
            "a file of 1152921504606846976 bytes",
        ),
        (
            Tar::default().head(&Head { size: 1 << 40, ..Head::new("big", b'x') }).end(),
            "an extended header has 1099511627776 bytes",
        ),
        (Tar::default().head(&Head { size: 100, ..Head::new("cut", b'0') }).0, "at cut: it breaks off"),
        (Tar::default().file("a", b"x").0[..700].to_vec(), "it breaks off"),
        (Tar::default().raw(&sparse).raw(&[0; 512]).end(), "a sparse file's map is malformed"),
        (Tar::default().symlink("s", "").end(), "a link points to an empty name"),
        (Tar::default().head(&Head::new("odd", b'Q')).end(), "the type \"Q\" is not known"),
        (
            Tar::default().link("a", "nowhere").end(),
            "/a cannot be unpacked: it is a hard link to /nowhere, which is not there",
        ),
        (Tar::default().symlink("l", "l").file("l/x", b"").end(), "too many symbolic links"),
        (
            Tar::default().pax(&[("SCHILY.xattr.user.big", &[0; 5000])]).file("attr", b"").end(),
            "ext4 cannot hold /attr: invalid: it has 5030 bytes of attributes",
        ),
        (Tar::default().head(&Head { device: (9999, 1), ..Head::new("dev", b'3') }).end(), "ext4 cannot hold /dev"),
    ];
    for (tar, reason) in cases {
        let error = refused(tar);
        assert!(error.contains(reason), "{reason:?} is not in {error:?}");
    }
}

#[test]
fn links_that_point_outside_stay_inside() {
    let place = Place::new();
    let tar = Tar::default().symlink("evil", "../../../../tmp").file("evil/x", b"inside").file("/abs", b"below").end();
    let image = place.rootfs(&tar).unwrap();
    let root = place.root(&image);
    assert_eq!(cat(&root, "/tmp/x"), b"inside");
    assert_eq!(cat(&root, "/abs"), b"below");
}

#[test]
fn damaged_layers_are_refused() {
    let tar = Tar::default().file("a", &disk::sha256(b"seed").as_bytes().repeat(9000)).end();
    for pack in [Pack::Gzip, Pack::Zstd] {
        let place = Place::new();
        let mut cut = layer(&tar, pack);
        cut.stored.truncate(cut.stored.len() - 9);
        let error = chain(&place.layers(&[cut]).unwrap_err());
        assert!(error.contains("cannot be unpacked") || error.contains("cannot be read"), "{error}");
        let mut flipped = layer(&tar, pack);
        let middle = flipped.stored.len() / 2;
        flipped.stored[middle] ^= 0x55;
        let error = chain(&place.layers(&[flipped]).unwrap_err());
        assert!(error.contains("the layer sha256:"), "{error}");
        let mut other = layer(&tar, pack);
        other.diff_id = disk::sha256(b"another");
        let error = chain(&place.layers(&[other]).unwrap_err());
        assert!(error.contains("but the image's configuration says sha256:"), "{error}");
        place.assert_empty();
    }
}

#[test]
fn a_blob_that_was_changed_after_all_is_blamed_and_not_its_packing() {
    let place = Place::new();
    let tar = Tar::default().file("a", &disk::sha256(b"seed").as_bytes().repeat(9000)).end();
    let all = layer(&tar, Pack::Gzip);
    let stored = disk::sha256(&all.stored);
    let reference = disk::layout(place.dir.path(), &[all]);
    let blob = place.dir.path().join("layout/blobs/sha256").join(stored.hex());
    let mut bytes = fs::read(&blob).unwrap();
    bytes[50] ^= 0xff;
    fs::write(&blob, bytes).unwrap();
    let error = chain(&place.pull(&reference).unwrap_err());
    assert!(error.contains("hash to"), "{error}");
    place.assert_empty();
}

#[test]
fn a_compression_bomb_is_refused() {
    // Zeros behind the end of a tar, and a tar that never ends.
    let error = refused(Pack::Zstd.pack(&[Tar::default().file("a", b"").end(), vec![0; 20 << 20]].concat()));
    assert!(error.contains("behind the end of its tar"), "{error}");
    // A file that is announced with more than an image of that size could have is not even begun.
    let head = Head { size: 40 << 30, ..Head::new("bomb", b'0') }.block();
    let error = refused(Pack::Zstd.pack(&[&head[..], &[0; 4096]].concat()));
    assert!(error.contains("more than 32 GiB unpacked"), "{error}");
}

#[test]
fn holes_of_any_size_cost_nothing() {
    let place = Place::new();
    let tar = Tar::default()
        .pax(&[
            ("GNU.sparse.major", b"0"),
            ("GNU.sparse.minor", b"1"),
            ("GNU.sparse.name", b"holes"),
            ("GNU.sparse.size", b"8796093022208"),
            ("GNU.sparse.map", b"4096,5,8000000000000,5"),
        ])
        .file("GNUSparseFile.0/holes", b"firstnext!")
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.realsize", b"10000"),
            ("GNU.sparse.name", b"new"),
        ])
        .file("GNUSparseFile.0/new", &[&b"1\n9000\n3\n"[..], &[0; 503], b"end"].concat())
        .end();
    let image = place.rootfs(&tar).unwrap();
    let root = place.root(&image);
    assert_clean(&root);
    let fs = open(&root);
    let ino = fs.resolve("/holes").unwrap();
    assert_eq!(fs.inode(ino).unwrap().size, 8_796_093_022_208);
    assert_eq!(bytes_at(&root, "/holes", 8_000_000_000_000, 5), b"next!");
    let new = cat(&root, "/new");
    assert_eq!((new.len(), &new[8998..9004]), (10_000, &b"\0\0end\0"[..]));
}

#[test]
fn an_image_that_is_here_is_not_read_again() {
    let place = Place::new();
    let reference = disk::layout(place.dir.path(), &[layer(&Tar::default().file("a", b"1").end(), Pack::Gzip)]);
    let first = place.pull(&reference).unwrap();
    let before = fs::metadata(place.root(&first)).unwrap().modified().unwrap();
    // Forced: its source is asked, but no layer is read.
    assert_eq!(place.pull(&reference).unwrap(), first);
    assert_eq!(fs::metadata(place.root(&first)).unwrap().modified().unwrap(), before);
    // Not forced: its source is not even asked.
    fs::remove_dir_all(place.dir.path().join("layout")).unwrap();
    let name: ImageRef = reference.parse().unwrap();
    let again = image::pull(&place.store, &name, false, &PullOptions::default(), &NoProgress, &Cancel::new());
    assert_eq!(again.unwrap(), first);
}

#[test]
fn a_torn_image_is_made_again() {
    let place = Place::new();
    let image = place.rootfs(&every_kind()).unwrap();
    let folder = place.store.image(&image.digest);
    fs::write(folder.join("manifest.json"), b"{").unwrap();
    fs::write(folder.join("image.ext4"), b"").unwrap();
    let again = place.rootfs(&every_kind()).unwrap();
    assert_eq!(again.digest, image.digest);
    assert_clean(&place.root(&again));
}

#[test]
fn names_imports_and_deletion() {
    let place = Place::new();
    let path = place.dir.path().join("root.tar");
    fs::write(&path, Tar::default().file("a", b"1").end()).unwrap();
    let source: ImageRef = format!("rootfs:{}", path.display()).parse().unwrap();
    let import = |name: &str| {
        image::import(
            &place.store,
            &source,
            &name.parse().unwrap(),
            &PullOptions::default(),
            &NoProgress,
            &Cancel::new(),
        )
    };
    let image = import("team/dev:1").unwrap();
    assert_eq!(image.name.to_string(), "docker://docker.io/team/dev:1");
    assert_eq!(import("team/dev:1").unwrap(), image);
    let other = import("other").unwrap();
    assert_eq!(other.digest, image.digest);
    assert!(matches!(import("debian-bookworm"), Err(ImageError::Reserved { .. })));
    assert_eq!(image::list(&place.store).unwrap(), [other.clone(), image.clone()]);

    fs::write(&path, Tar::default().file("a", b"2").end()).unwrap();
    assert!(matches!(import("other"), Err(ImageError::NameTaken { .. })));
    let gone = image::prune(&place.store, |_| false).unwrap();
    assert_eq!(gone.len(), 1, "the image that got no name");

    assert!(!image::delete(&place.store, &other.name, |_| false).unwrap(), "the other name needs it");
    assert!(matches!(image::get(&place.store, &other.name), Err(ImageError::NotFound { .. })));
    assert!(!image::delete(&place.store, &image.name, |digest| *digest == image.digest).unwrap(), "a VM needs it");
    assert!(image::files(&place.store, &image.digest).is_ok());
    assert_eq!(image::prune(&place.store, |_| false).unwrap(), [image.digest]);
    assert!(matches!(image::files(&place.store, &image.digest), Err(ImageError::Gone { .. })));
    place.assert_empty();
}

#[test]
fn an_image_stays_for_a_name_that_it_gets_while_its_last_one_is_deleted() {
    const ROUNDS: usize = 20;
    let place = Place::new();
    let path = place.dir.path().join("root.tar");
    fs::write(&path, Tar::default().file("a", b"1").end()).unwrap();
    let source: ImageRef = format!("rootfs:{}", path.display()).parse().unwrap();
    let come_and_go = |name: &str| {
        let name: ImageRef = name.parse().unwrap();
        for _ in 0..ROUNDS {
            let options = PullOptions::default();
            image::import(&place.store, &source, &name, &options, &NoProgress, &Cancel::new()).unwrap();
            image::get(&place.store, &name).unwrap();
            image::delete(&place.store, &name, |_| false).unwrap();
        }
    };
    std::thread::scope(|scope| {
        for name in ["one", "two", "three"] {
            scope.spawn(move || come_and_go(name));
        }
    });
    println!("names that came and went: {}", 3 * ROUNDS);
    place.assert_empty();
}

/// Cancels at a stage.
struct CancelAt(&'static str, Cancel);

impl Progress for CancelAt {
    fn stage(&self, name: &str) {
        if name == self.0 {
            self.1.cancel();
        }
    }
    fn bytes(&self, _: u64, _: Option<u64>) {}
    fn line(&self, _: &str) {}
}

#[test]
fn a_cancelled_pull_leaves_nothing() {
    for stage in ["find the image", "unpack the layers", "write the file system"] {
        let place = Place::new();
        let reference = disk::layout(place.dir.path(), &[layer(&every_kind(), Pack::Gzip)]).parse().unwrap();
        let cancel = Cancel::new();
        let progress = CancelAt(stage, cancel.clone());
        let pulled = image::pull(&place.store, &reference, false, &PullOptions::default(), &progress, &cancel);
        let error = pulled.unwrap_err();
        let cancelled = matches!(&error, ImageError::Cancelled)
            || matches!(&error, ImageError::Source(banger_image::source::SourceError::Cancelled));
        assert!(cancelled, "{stage}: {}", chain(&error));
        place.assert_empty();
    }
}

#[test]
fn a_work_disk_begins_as_the_images_home() {
    let place = Place::new();
    let big: Vec<u8> = (0..3_000_000_u32).map(|i| i.to_le_bytes()[1]).collect();
    let tar = Tar::default()
        .symlink("root", "home/admin")
        .head(&Head { mode: 0o750, owner: (5, 6), ..Head::new("home/admin", b'5') })
        .pax(&[("SCHILY.xattr.user.note", b"hi"), ("mtime", b"99.5")])
        .file("home/admin/big", &big)
        .link("home/admin/same", "home/admin/big")
        .symlink("home/admin/link", "/etc/passwd")
        .dir("home/admin/deep/er")
        .head(&Head { device: (1, 3), ..Head::new("home/admin/null", b'3') })
        .file("home/other", b"not this one")
        .end();
    let image = place.rootfs(&tar).unwrap();
    let seed = image::files(&place.store, &image.digest).unwrap().1.seed;
    let path = place.dir.path().join("work");
    make_work(&path, ByteSize::gib(20), Some(&seed)).unwrap();
    assert_clean(&path);
    assert_eq!(
        listing(&path),
        [
            "/big 100644 0:0 links 2",
            "/deep 40755 0:0 links 3",
            "/deep/er 40755 0:0 links 2",
            "/link 120644 0:0 links 1",
            "/null 20644 0:0 links 1",
            "/same 100644 0:0 links 2",
        ]
    );
    let fs = open(&path);
    let root = fs.inode(fs.resolve("/").unwrap()).unwrap();
    assert_eq!((root.mode, root.uid, root.gid), (0o40750, 5, 6));
    assert_eq!(cat(&path, "/same"), big);
    let ino = fs.resolve("/big").unwrap();
    assert_eq!(fs.xattrs(ino).unwrap()[0].value, b"hi");
    assert_eq!(fs.inode(ino).unwrap().mtime, 99);
    assert!(make_work(&path, ByteSize::mib(16), Some(&seed)).is_ok());
    let error = make_work(&path, ByteSize::mib(16), Some(Path::new("/none/seed.json"))).unwrap_err();
    assert!(error.to_string().contains("/none/seed.json"), "{error}");
}

#[test]
fn a_home_that_is_no_folder_is_a_warning() {
    let place = Place::new();
    let image = place.rootfs(&Tar::default().file("root", b"a file").end()).unwrap();
    assert_eq!(image.manifest.warnings.len(), 1);
    let seed = image::files(&place.store, &image.digest).unwrap().1.seed;
    let path = place.dir.path().join("work");
    make_work(&path, ByteSize::gib(1), Some(&seed)).unwrap();
    assert_eq!(listing(&path), Vec::<String>::new());
}

#[test]
fn needs_gnu_tar_what_it_packs_comes_out() {
    if Command::new("tar").arg("--version").output().is_err() {
        eprintln!("SKIPPED: needs_gnu_tar_what_it_packs_comes_out: tar is not installed");
        return;
    }
    let place = Place::new();
    let tree = place.dir.path().join("tree");
    fs::create_dir_all(tree.join("d").join("n".repeat(180)).join("m".repeat(90))).unwrap();
    fs::write(tree.join("d").join("n".repeat(180)).join("m".repeat(90)).join("deep"), "deep").unwrap();
    let holes = fs::File::create(tree.join("holes")).unwrap();
    for place in [0_u64, 3, 20, 21, 60] {
        std::os::unix::fs::FileExt::write_all_at(&holes, b"data", place << 20).unwrap();
    }
    holes.set_len(64 << 20).unwrap();
    for options in [
        &["--format=gnu"][..],
        &["--format=gnu", "-S"],
        &["--format=pax", "-S"],
        &["--format=pax", "-S", "--sparse-version=0.1"],
        &["--format=pax", "-S", "--sparse-version=0.0"],
    ] {
        let path = place.dir.path().join("tree.tar");
        let made =
            Command::new("tar").args(options).arg("-C").arg(&tree).arg("-cf").arg(&path).arg(".").status().unwrap();
        assert!(made.success());
        let image = place.pull(&format!("rootfs:{}", path.display())).unwrap();
        let root = place.root(&image);
        assert_clean(&root);
        let fs = open(&root);
        let ino = fs.resolve("/holes").unwrap();
        let inode = fs.inode(ino).unwrap();
        assert_eq!(inode.size, 64 << 20, "{options:?}");
        assert!(inode.blocks < 1000, "{options:?}: {} blocks", inode.blocks);
        assert_eq!(bytes_at(&root, "/holes", 21 << 20, 4), b"data");
        assert_eq!(bytes_at(&root, "/holes", (60 << 20) + 4, 4), [0; 4]);
        assert_eq!(cat(&root, &format!("/d/{}/{}/deep", "n".repeat(180), "m".repeat(90))), b"deep");
    }
}

/// A small file system that is gone again with this.
struct Mount(std::path::PathBuf);

impl Mount {
    fn new(at: &Path, options: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(at.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn needs_root_a_full_disk_is_told_and_leaves_nothing() {
    let mut place = Place::new();
    let full = place.dir.path().join("full");
    let Some(_mount) = Mount::new(&full, "size=12m") else {
        eprintln!("SKIPPED: needs_root_a_full_disk_is_told_and_leaves_nothing: tmpfs cannot be mounted");
        return;
    };
    place.store = banger_image::store::Store::open(full.join("store")).unwrap();
    let noise: Vec<u8> =
        (0..24_u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0] | 1).collect();
    let error = place.rootfs(&Tar::default().file("noise", &noise).end()).unwrap_err();
    assert!(chain(&error).contains("no space left on the disk that holds"), "{}", chain(&error));
    place.assert_empty();
    // What fits still goes in.
    place.rootfs(&Tar::default().file("small", &noise[..1 << 20]).end()).unwrap();
    let error = make_work(&full.join("work"), ByteSize::gib(4000), None).unwrap_err();
    assert!(error.to_string().contains("no space left"), "{error}");
    assert!(!full.join("work").exists() && !full.join("work.new").exists());
}
