//! Every file of the store, damaged: readers say so and how it is mended, or do without, and never take it for something else.
//!
//! A new file of the store is one more line in [`files`]. Files too large to be read at every start are known by their length
//! alone: they are in [`cut_files`].

use crate::cancel::Cancel;
use crate::image::{self, PullOptions, Seed};
use crate::kernel;
use crate::progress::NoProgress;
use crate::samples;
use crate::store::{Store, StoreError};
use crate::{disk, initramfs};
use banger_damage::{Answer, in_full, try_all};
use banger_model::{ByteSize, Digest, ImageRef, KernelRef};
use std::error::Error;
use std::fmt::Debug;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

const SEED: u64 = 20_261_125;

/// A store with an image, a kernel and an initramfs, all made from files of the user's.
struct Fixture {
    dir: tempfile::TempDir,
    store: Store,
    image: Digest,
    kernel: Digest,
}

fn image_name() -> ImageRef {
    "mine".parse().unwrap()
}

fn kernel_name() -> KernelRef {
    "mine".parse().unwrap()
}

impl Fixture {
    fn new() -> Self {
        // Where syncing costs nothing, if there is such a place: what is tested here is not the disk.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        fs::write(dir.path().join("rootfs.tar"), samples::rootfs()).unwrap();
        fs::write(dir.path().join("vmlinux"), samples::vmlinux()).unwrap();
        fs::write(dir.path().join("agent"), samples::agent()).unwrap();
        let zero = Digest::from_bytes([0; 32]);
        let mut fixture = Self { dir, store, image: zero, kernel: zero };
        (fixture.image, fixture.kernel) = fixture.fetch();
        fixture
    }

    /// What a user does to mend the store.
    fn fetch(&self) -> (Digest, Digest) {
        let (options, cancel) = (PullOptions { insecure: Vec::new() }, Cancel::new());
        let source: ImageRef = format!("rootfs:{}", self.dir.path().join("rootfs.tar").display()).parse().unwrap();
        let image = image::import(&self.store, &source, &image_name(), &options, &NoProgress, &cancel).unwrap();
        let vmlinux = self.dir.path().join("vmlinux");
        let kernel = kernel::import(&self.store, &kernel_name(), &vmlinux, None, &NoProgress, &cancel).unwrap();
        (image.digest, kernel.digest)
    }

    fn image_file(&self, name: &str) -> PathBuf {
        self.store.image(&self.image).join(name)
    }

    fn kernel_file(&self, name: &str) -> PathBuf {
        self.store.kernel(&self.kernel).join(name)
    }

    fn initramfs(&self) -> Result<PathBuf, initramfs::InitramfsError> {
        initramfs::ensure(&self.store, &self.kernel, &self.dir.path().join("agent"))
    }
}

fn only_file(folder: PathBuf) -> PathBuf {
    let mut entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let path = entries.next().unwrap();
    assert!(entries.next().is_none());
    path
}

fn answer<T: Debug, E: Error>(result: Result<T, E>) -> Answer {
    match result {
        Ok(value) => Answer::Read(format!("{value:?}")),
        Err(error) => Answer::Refused(in_full(&error)),
    }
}

type Read<'a> = Box<dyn Fn() -> Answer + 'a>;

/// Every file that is read as a whole, and its reader.
fn files(of: &Fixture) -> Vec<(PathBuf, Read<'_>)> {
    let seed = of.image_file("seed.json");
    let read_seed = {
        let seed = seed.clone();
        move || {
            let tree = Seed::open(&seed).map(|seed| seed.tree);
            answer(tree.map_err(|source| disk::DiskError::Seed { path: seed.clone(), source }))
        }
    };
    vec![
        (only_file(of.store.image_names()), Box::new(|| answer(image::get(&of.store, &image_name())))),
        (of.image_file("manifest.json"), Box::new(|| answer(image::files(&of.store, &of.image)))),
        (seed, Box::new(read_seed)),
        (only_file(of.store.kernel_names()), Box::new(|| answer(kernel::get(&of.store, &kernel_name())))),
        (of.kernel_file("manifest.json"), Box::new(|| answer(kernel::files(&of.store, &of.kernel)))),
        // It is made again, so the answer is always the same.
        (of.initramfs().unwrap(), Box::new(|| answer(of.initramfs().map(|path| fs::read(path).unwrap())))),
    ]
}

/// Every file that is known by its length, and who would notice.
fn cut_files(of: &Fixture) -> Vec<(PathBuf, Read<'_>)> {
    let image = || -> Read<'_> { Box::new(|| answer(image::files(&of.store, &of.image))) };
    let kernel = || -> Read<'_> { Box::new(|| answer(kernel::files(&of.store, &of.kernel))) };
    vec![
        (of.image_file("image.ext4"), image()),
        (of.kernel_file("vmlinux"), kernel()),
        (of.kernel_file("modules.ext4"), kernel()),
        (of.kernel_file("boot-modules.cpio"), kernel()),
    ]
}

#[test]
#[expect(clippy::print_stdout, reason = "the counts are part of what is shown")]
fn a_damaged_file_is_refused_by_name_with_a_way_out_or_made_again() {
    let fixture = Fixture::new();
    for (path, read) in files(&fixture) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        println!("{}", try_all(&path, SEED, &[&name, "again"], false, read));
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "the counts are part of what is shown")]
fn a_large_file_that_was_cut_off_is_known_by_its_length() {
    let fixture = Fixture::new();
    for (path, read) in cut_files(&fixture) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let whole = fs::metadata(&path).unwrap().len();
        assert!(matches!(read(), Answer::Read(_)), "{name}: {:?}", read());
        let mut lengths = banger_damage::places(usize::try_from(whole.min(1 << 20)).unwrap(), SEED);
        lengths.retain(|length| *length as u64 != whole);
        for length in lengths.iter().map(|length| *length as u64).chain([whole - 1, whole + 1, whole + 4096]) {
            // Lengthened again it would have lost its end, so each length is tried on a file of its own.
            let aside = path.with_extension("aside");
            fs::rename(&path, &aside).unwrap();
            File::create(&path).unwrap().set_len(length).unwrap();
            match read() {
                Answer::Refused(text) => assert!(text.contains(&name) && text.contains("again"), "{text}"),
                other => panic!("{name} of {length} bytes for {whole}: {other:?}"),
            }
            fs::rename(&aside, &path).unwrap();
        }
        println!("TORN {name} ({whole} bytes): {} lengths, all refused", lengths.len() + 3);
    }
}

/// The way out that the errors name is one.
#[test]
fn importing_again_mends_every_file() {
    let fixture = Fixture::new();
    let mut damaged: Vec<PathBuf> =
        files(&fixture).into_iter().chain(cut_files(&fixture)).map(|(path, _)| path).collect();
    damaged.sort();
    for path in damaged {
        let length = fs::metadata(&path).unwrap().len();
        File::options().write(true).open(&path).unwrap().set_len(length / 2).unwrap();
        assert_eq!(fixture.fetch(), (fixture.image, fixture.kernel));
        for (path, read) in files(&fixture).into_iter().chain(cut_files(&fixture)) {
            assert!(matches!(read(), Answer::Read(_)), "{}: {:?}", path.display(), read());
        }
    }
    let work = fixture.dir.path().join("work");
    disk::make_work(&work, ByteSize::mib(64), Some(&fixture.image_file("seed.json"))).unwrap();
}

#[test]
fn an_image_is_not_pruned_while_a_name_cannot_be_read() {
    let fixture = Fixture::new();
    let path = only_file(fixture.store.image_names());
    fs::write(&path, "{").unwrap();
    let error = in_full(&image::prune(&fixture.store, |_| false).unwrap_err());
    assert!(error.contains(&*path.display().to_string()), "{error}");
    assert!(image::files(&fixture.store, &fixture.image).is_ok());
    // The name can be given up all the same, and then so is the image.
    image::delete(&fixture.store, &image_name(), |_| false).unwrap();
    assert_eq!(image::prune(&fixture.store, |_| false).unwrap(), [fixture.image]);
}

#[test]
fn deleting_one_name_spares_what_a_damaged_name_may_mean() {
    let fixture = Fixture::new();
    fs::write(fixture.store.image_names().join("other.json"), "{").unwrap();
    fs::write(fixture.store.kernel_names().join("other.json"), "{").unwrap();
    assert!(!image::delete(&fixture.store, &image_name(), |_| false).unwrap());
    assert!(!kernel::delete(&fixture.store, &kernel_name(), |_| false).unwrap());
    assert!(fixture.store.image(&fixture.image).exists() && fixture.store.kernel(&fixture.kernel).exists());
}

#[test]
fn a_record_under_another_name_is_damaged() {
    let fixture = Fixture::new();
    let path = only_file(fixture.store.image_names());
    let text = fs::read_to_string(&path).unwrap().replace("mine", "nine");
    fs::write(&path, text).unwrap();
    assert!(matches!(image::get(&fixture.store, &image_name()), Err(image::ImageError::Record { .. })));
}

#[test]
fn manifests_of_versions_that_kept_no_lengths_are_read() {
    let fixture = Fixture::new();
    for path in [fixture.image_file("manifest.json"), fixture.kernel_file("manifest.json")] {
        let mut manifest: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        manifest.as_object_mut().unwrap().remove("lengths").unwrap();
        fs::write(&path, manifest.to_string()).unwrap();
    }
    assert!(image::files(&fixture.store, &fixture.image).is_ok());
    assert!(kernel::files(&fixture.store, &fixture.kernel).is_ok());
}

/// A process that is killed leaves its folder without a lock, whatever it was about; a living one is spared however often
/// others sweep.
#[test]
fn staging_is_swept_when_its_owner_is_killed_and_not_before() {
    const ROOT: &str = "BANGER_TEST_STAGING_OWNER";
    if let Some(root) = std::env::var_os(ROOT) {
        let staging = Store::open(root.into()).unwrap().stage().unwrap();
        fs::write(staging.path().join("half"), "of it").unwrap();
        // Until it is killed; not for ever, should whoever is to do that have gone.
        std::thread::sleep(std::time::Duration::from_secs(120));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().into()).unwrap();
    let test = "torn::staging_is_swept_when_its_owner_is_killed_and_not_before";
    let mut owner = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(ROOT, dir.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let half = || {
        let entries = fs::read_dir(dir.path().join("staging")).unwrap();
        entries.map(|entry| entry.unwrap().path().join("half")).find(|path| path.exists())
    };
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while half().is_none() {
        assert!(std::time::Instant::now() < end && owner.try_wait().unwrap().is_none(), "it never began");
        assert_eq!(store.sweep_staging().unwrap(), 0, "swept under its owner's hands");
        std::thread::yield_now();
    }
    for _ in 0..10 {
        assert_eq!(store.sweep_staging().unwrap(), 0);
    }
    owner.kill().unwrap();
    owner.wait().unwrap();
    assert_eq!(store.sweep_staging().unwrap(), 1);
    assert_eq!(half(), None);
}

/// A reader during rewrites sees the old or the new, and so when the disk has no room for the new.
#[test]
fn a_reader_during_rewrites_sees_the_old_or_the_new() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().into()).unwrap();
    let path: &Path = &store.image_names().join("x.json");
    let contents = [vec![b'a'; 100_000], vec![b'b'; 70_001]];
    store.write_file(path, &contents[0]).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 0..100 {
                store.write_file(path, &contents[round % 2]).unwrap();
            }
        });
        while !writer.is_finished() {
            assert!(contents.contains(&fs::read(path).unwrap()));
        }
    });
    let error = store.write_file(&dir.path().join("none/x.json"), b"x").unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }));
    assert_eq!(fs::read_dir(dir.path().join("staging")).unwrap().count(), 0);
}

#[test]
#[expect(clippy::print_stdout, reason = "how much was tried is for the reader of the log")]
fn fuzzed_records() {
    let fixture = Fixture::new();
    for (path, read) in
        files(&fixture).into_iter().filter(|(path, _)| path.extension().is_some_and(|end| end == "json"))
    {
        let whole = fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let words: [&[u8]; 6] = [b"null", b"[]", b"{}", b"\"..\"", b"18446744073709551615", b"-1"];
        println!(
            "{}",
            banger_damage::fuzz::fuzz(&name, std::slice::from_ref(&whole), &words, 8 << 20, |bytes| {
                fs::write(&path, bytes).unwrap();
                let _any = read();
            })
        );
        fs::write(&path, whole).unwrap();
    }
}
