//! Images from every kind of source, made and served by the tools that people use.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods)]

mod support;

use banger_image::cancel::Cancel;
use banger_image::progress::{NoProgress, Progress};
use banger_image::source::{Encoding, PullOptions, Resolved, SourceError, SourceErrorKind, resolve};
use banger_model::{Digest, ImageRef};
use sha2::{Digest as _, Sha256};
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use support::images::{self, TAG, layout, skopeo};
use support::registry::Registry;
use support::server::own_address;
use support::{chain, have, run};

fn reference(text: &str) -> ImageRef {
    text.parse().unwrap()
}

fn find(text: &str) -> Result<Resolved, SourceError> {
    resolve(&reference(text), &PullOptions::default(), &NoProgress, &Cancel::new())
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::digest(bytes).into())
}

/// The unpacked layers, each read on a thread of its own.
fn layers(image: &Resolved) -> Vec<Vec<u8>> {
    std::thread::scope(|scope| {
        let read = |index: usize| {
            let mut stored = Vec::new();
            image.open(index, &NoProgress, &Cancel::new()).unwrap().read_to_end(&mut stored).unwrap();
            let layer = &image.layers()[index];
            assert_eq!(layer.digest.unwrap_or_else(|| sha256(&stored)), sha256(&stored));
            let mut plain = Vec::new();
            let mut decoder: Box<dyn Read> = match layer.encoding {
                Encoding::None => Box::new(stored.as_slice()),
                Encoding::Gzip => Box::new(flate2::read::MultiGzDecoder::new(stored.as_slice())),
                Encoding::Zstd => Box::new(zstd::stream::read::Decoder::new(stored.as_slice()).unwrap()),
                Encoding::Xz => panic!("no tool makes these"),
            };
            decoder.read_to_end(&mut plain).unwrap();
            assert_eq!(layer.diff_id.unwrap_or_else(|| sha256(&plain)), sha256(&plain));
            plain
        };
        let threads: Vec<_> = (0..image.layers().len()).map(|index| scope.spawn(move || read(index))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// The image of [`layout`], whatever way it came.
fn check(image: &Resolved, dir: &Path) {
    let config = image.config();
    assert!(config.env.contains(&"COLOUR=green".to_owned()), "{config:?}");
    assert_eq!((config.workdir.as_str(), config.user.as_str()), ("/srv", "worker"));
    let expected = ["lower", "upper"].map(|name| std::fs::read(dir.join(format!("{name}.tar"))).unwrap());
    assert!(layers(image) == expected, "a layer differs");
}

#[test]
fn oci_layouts_and_archives_need_umoci_and_skopeo() {
    if !have("oci_layouts_and_archives", &["umoci", "skopeo"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let made = layout(dir.path());
    let folder = find(&format!("oci-layout:{}", made.display())).unwrap();
    check(&folder, dir.path());
    let tagged = find(&format!("oci-layout:{}:{TAG}", made.display())).unwrap();
    assert_eq!(tagged.digest(), folder.digest());
    let archive = dir.path().join("image.tar");
    let from = format!("oci:{}:{TAG}", made.display());
    skopeo(&[&from, &format!("oci-archive:{}", archive.display())]);
    let packed = find(&format!("oci-archive:{}", archive.display())).unwrap();
    check(&packed, dir.path());
    assert_eq!(packed.digest(), folder.digest());
    let zstd = dir.path().join("zstd");
    skopeo(&["--dest-compress-format", "zstd", "--dest-compress", &from, &format!("oci:{}:{TAG}", zstd.display())]);
    let zstd = find(&format!("oci-layout:{}", zstd.display())).unwrap();
    assert!(zstd.layers().iter().all(|layer| layer.encoding == Encoding::Zstd), "{:?}", zstd.layers());
    check(&zstd, dir.path());

    let error = find(&format!("oci-layout:{}:other", made.display())).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::NotFound);
    assert!(chain(&error).contains(&format!("no image with the tag \"other\": it has {TAG}")), "{}", chain(&error));
}

#[test]
fn docker_archives_need_umoci_and_skopeo() {
    if !have("docker_archives", &["umoci", "skopeo"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let made = layout(dir.path());
    let archive = dir.path().join("image.tar");
    skopeo(&[&format!("oci:{}:{TAG}", made.display()), &format!("docker-archive:{}:team/dev:1", archive.display())]);
    let image = find(&format!("docker-archive:{}", archive.display())).unwrap();
    assert!(image.layers().iter().all(|layer| layer.encoding == Encoding::None && layer.digest.is_some()));
    check(&image, dir.path());

    // One byte of a layer is another.
    let mut bytes = std::fs::read(&archive).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(&archive, &bytes).unwrap();
    let image = find(&format!("docker-archive:{}", archive.display())).unwrap();
    let read = |index| {
        image
            .open(index, &NoProgress, &Cancel::new())
            .unwrap()
            .read_to_end(&mut Vec::new())
            .map_err(SourceError::from_read)
    };
    let errors: Vec<_> = (0..image.layers().len()).filter_map(|index| read(index).err()).collect();
    let [Ok(error)] = errors.as_slice() else { panic!("{errors:?}") };
    assert!(chain(error).contains("hash to"), "{}", chain(error));

    bytes.truncate(bytes.len() / 2);
    std::fs::write(&archive, &bytes).unwrap();
    let error = find(&format!("docker-archive:{}", archive.display())).unwrap_err();
    assert!(chain(&error).contains("cut off"), "{}", chain(&error));
}

#[test]
fn registries_need_docker_registry_umoci_and_skopeo() {
    if !have("registries", &["docker-registry", "umoci", "skopeo"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::start(dir.path());
    let from = format!("oci:{}:{TAG}", layout(dir.path()).display());
    let name = format!("{}/team/dev", registry.address);
    skopeo(&["--dest-tls-verify=false", &from, &format!("docker://{name}:1")]);
    skopeo(&["--dest-tls-verify=false", "--format", "v2s2", &from, &format!("docker://{name}:docker")]);

    let image = find(&format!("docker://{name}:1")).unwrap();
    check(&image, dir.path());
    let pinned = find(&format!("{name}@{}", image.digest().unwrap())).unwrap();
    assert_eq!(pinned.digest(), image.digest());
    let docker = find(&format!("docker://{name}:docker")).unwrap();
    assert_ne!(docker.digest(), image.digest());
    check(&docker, dir.path());

    for (text, said) in [
        (format!("{name}:2"), "does not have the tag \"2\" of team/dev"),
        (format!("{}/team/other:1", registry.address), "does not have the tag \"1\" of team/other"),
        (format!("{name}@{}", sha256(b"x")), "does not have the manifest sha256:2d711642"),
    ] {
        let error = find(&text).unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::NotFound, "{text}");
        assert!(chain(&error).contains(said), "{}", chain(&error));
    }

    let address = registry.address.clone();
    drop(registry);
    let error = find(&format!("{name}:1")).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Unavailable);
    assert!(chain(&error).contains(&format!("no answer from {address}: Connection refused")), "{}", chain(&error));
}

/// Tells the copy of this test that trusts the registry where it is.
const TRUSTING: &str = "BANGER_TEST_TLS_IMAGE";

#[test]
fn a_registry_with_tls_needs_openssl_docker_registry_umoci_and_skopeo() {
    if let Ok(name) = std::env::var(TRUSTING) {
        let image = find(&name).unwrap_or_else(|error| panic!("{}", chain(&error)));
        assert_eq!(layers(&image).len(), 2);
        return;
    }
    let test = "a_registry_with_tls_needs_openssl_docker_registry_umoci_and_skopeo";
    if !have(test, &["openssl", "docker-registry", "umoci", "skopeo"]) {
        return;
    }
    let Some(address) = own_address() else {
        eprintln!("SKIPPED: {test}: this host has no address but the loopback's");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = (dir.path().join("certificate.pem"), dir.path().join("key.pem"));
    let subject = format!("subjectAltName=IP:{address}");
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test", "-addext", &subject,
    ]);
    // A certificate of a server: one that may sign others is no server's.
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE", "-out"]).arg(&certificate).arg("-keyout").arg(&key);
    run(&mut openssl);
    let tls = format!("tls: {{certificate: {}, key: {}}}", certificate.display(), key.display());
    let registry = Registry::with(dir.path(), &format!("addr: '{address}:0', {tls}"));
    let name = format!("{}/team/dev:1", registry.address);
    let from = format!("oci:{}:{TAG}", layout(dir.path()).display());
    skopeo(&["--dest-tls-verify=false", &from, &format!("docker://{name}")]);

    // Nobody vouches for it: it is not spoken to.
    let error = find(&name).unwrap_err();
    assert!(chain(&error).contains("no secure connection to"), "{}", chain(&error));
    // With its certificate among the host's, it is.
    let trusting = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env("SSL_CERT_FILE", &certificate)
        .env(TRUSTING, &name)
        .output()
        .unwrap();
    assert!(trusting.status.success(), "{}", String::from_utf8_lossy(&trusting.stderr));
}

#[test]
fn a_root_tar_is_known_by_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("root.tar");
    images::tar(&path, "file", 10_000);
    let image = find(&format!("rootfs:{}", path.display())).unwrap();
    assert_eq!((image.digest(), image.layers().len()), (None, 1));
    let bytes = layers(&image).remove(0);
    assert_eq!(image.digest(), Some(sha256(&bytes)));
}

/// Keeps lines, and cancels after the first that has a word in it.
struct CancelAt<'a>(&'a str, &'a Cancel, Mutex<Vec<String>>);

impl Progress for CancelAt<'_> {
    fn stage(&self, _: &str) {}
    fn bytes(&self, _: u64, _: Option<u64>) {}
    fn line(&self, line: &str) {
        if line.contains(self.0) {
            self.1.cancel();
        }
        self.2.lock().unwrap().push(line.to_owned());
    }
}

#[test]
fn debian_is_built_needs_mmdebstrap_and_package_servers() {
    if !have("debian_is_built", &["mmdebstrap"]) {
        return;
    }
    let cancel = Cancel::new();
    let progress = CancelAt("never", &cancel, Mutex::default());
    let image = match resolve(&reference("debian-bookworm"), &PullOptions::default(), &progress, &cancel) {
        Ok(image) => image,
        Err(error) if error.kind() == SourceErrorKind::HostUnfit => {
            eprintln!("SKIPPED: debian_is_built: {}", chain(&error));
            return;
        }
        Err(error) => panic!("{}", chain(&error)),
    };
    assert_eq!(image.digest(), None);
    assert!(image.config().env.iter().any(|one| one.starts_with("PATH=")));
    let mut tar = tar::Archive::new(image.open(0, &progress, &cancel).unwrap());
    let (mut found, mut owners) = (Vec::new(), false);
    for entry in tar.entries().unwrap() {
        let entry = entry.unwrap_or_else(|error| panic!("{error}: {:?}", progress.2.lock().unwrap()));
        let path = entry.path().unwrap().to_string_lossy().trim_start_matches("./").to_owned();
        // Owned by another than root: ids were not squashed.
        owners |= path == "etc/shadow" && entry.header().gid().unwrap() == 42;
        found.push(path);
    }
    std::io::copy(&mut tar.into_inner(), &mut std::io::sink()).unwrap();
    for path in ["bin/git", "bin/curl", "bin/sudo", "bin/ip", "bin/kmod", "etc/ssl/certs/ca-certificates.crt"] {
        assert!(found.iter().any(|one| one.trim_start_matches("usr/") == path), "{path} is missing");
    }
    assert!(found.iter().any(|path| path.ends_with("systemd/systemd")) && owners);
    assert!(!found.iter().any(|path| path == "etc/hostname" || path == "etc/resolv.conf"));
    assert!(image.digest().is_some());
    assert!(progress.2.lock().unwrap().iter().any(|line| line.contains("installing")), "{:?}", progress.2);
}

#[test]
fn a_cancelled_build_ends_soon_needs_mmdebstrap() {
    if !have("a_cancelled_build", &["mmdebstrap"]) {
        return;
    }
    let cancel = Cancel::new();
    let progress = CancelAt("downloading", &cancel, Mutex::default());
    let image = match resolve(&reference("debian-bookworm"), &PullOptions::default(), &progress, &cancel) {
        Ok(image) => image,
        Err(error) => return eprintln!("SKIPPED: a_cancelled_build: {}", chain(&error)),
    };
    let mut tar = image.open(0, &progress, &cancel).unwrap();
    let error = loop {
        match tar.read(&mut [0; 512]) {
            Ok(0) => panic!("it was built"),
            Ok(_) => {}
            Err(error) => break SourceError::from_read(error).unwrap(),
        }
    };
    assert!(matches!(error, SourceError::Cancelled), "{}", chain(&error));
    let begun = Instant::now();
    drop(tar);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    // What it made is gone with it; its folder is named in its own words.
    for line in progress.2.lock().unwrap().iter() {
        if let Some(folder) = line.strip_prefix("using ").and_then(|rest| rest.strip_suffix(" as tempdir")) {
            assert!(!Path::new(folder).exists(), "{folder} was left");
        }
    }
}
