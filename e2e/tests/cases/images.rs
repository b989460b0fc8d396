//! Images: from every source to a bootable file system, and every source that is no good.

use crate::network::own_addresses;
use banger_e2e::{
    BOUND, Call, Output, Sandbox,
    fixture::{
        image::{self, layer},
        layout,
        registry::{Registry, skopeo},
    },
    place::find,
    sandbox::entries,
    skip, wait_for,
};
use rustix::fs::{SeekFrom, seek};
use serde_json::json;
use std::{
    fs,
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

/// Where a reference's file system is, in the store.
fn root_file(sandbox: &Sandbox, reference: &str) -> PathBuf {
    let show = sandbox.banger("image show --json").arg(reference).run().json();
    let hex = show["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    sandbox.data().join("images").join(hex).join("image.ext4")
}

/// `e2fsck` finds nothing to say about it.
fn assert_clean(file: &Path) {
    let check = Call::new(find("e2fsck").unwrap()).words("-fn").arg(file).run();
    assert!(check.status.success() && !check.stdout.contains("Fix?"), "{check}");
}

/// The file systems of the same image, whatever way it came.
fn tells_dev(sandbox: &Sandbox, reference: &str) {
    assert_clean(&root_file(sandbox, reference));
    let script = "pwd; id -un; echo $GREETING; ls; cat /etc/motd; ls -A /opt/full; echo $PATH; stat -c '%a %U %Y' keep";
    let output = sandbox.banger("vm run --rm --image").arg(reference).words("-- sh -c").arg(script).run();
    let expected = "/work\ndev\nhello from the image\nkeep\ntop\nnew\n/opt/tools:/bin\n644 dev 1600000000";
    assert_eq!(output.ok(), expected);
}

#[test]
fn from_a_registry_by_tag_and_by_digest() {
    let Some(registry) = Registry::shared() else { skip!("from_a_registry", "no docker-registry") };
    let sandbox = Sandbox::new();
    let tag = format!("docker://{}/team/dev:1", registry.host);
    let pull = sandbox.banger("image pull").arg(&tag).run();
    pull.ok();
    tells_dev(&sandbox, &tag);
    let inspect = skopeo().words("inspect --tls-verify=false").arg(&tag).run().json();
    let digest = format!("docker://{}/team/dev@{}", registry.host, inspect["Digest"].as_str().unwrap());
    let output = sandbox.banger("vm run --rm --image").arg(&digest).words("-- cat /etc/motd").run();
    assert_eq!(output.ok(), "top");
    let bare = format!("{}/team/plain:1", registry.host);
    let output = sandbox.banger("vm run --rm --image").arg(&bare).words("-- sh -c").arg("exit 37").run();
    output.expect_status(37);
}

#[test]
fn from_a_layout_an_oci_archive_and_a_docker_archive() {
    let sandbox = Sandbox::new();
    let layout = image::oci_layout().display().to_string();
    let (oci, docker) = (sandbox.scratch().join("oci.tar"), sandbox.scratch().join("docker.tar"));
    for (kind, file) in [("oci-archive", &oci), ("docker-archive", &docker)] {
        let to = format!("{kind}:{}", file.display());
        skopeo().words("copy").arg(format!("oci:{layout}:dev")).arg(to).run().ok();
    }
    for reference in [
        format!("oci-layout:{layout}:dev"),
        format!("oci-archive:{}", oci.display()),
        format!("docker-archive:{}", docker.display()),
    ] {
        sandbox.banger("image pull").arg(&reference).run().ok();
        tells_dev(&sandbox, &reference);
    }
}

#[test]
fn from_a_root_tar_however_it_is_compressed() {
    let sandbox = Sandbox::new();
    for (program, ending) in [("gzip", "gz"), ("xz", "xz"), ("zstd", "zst")] {
        let file = sandbox.scratch().join(format!("root.tar.{ending}"));
        let packed = sandbox.tool(program).words("-c").arg(image::busybox()).run();
        packed.ok();
        fs::write(&file, &packed.bytes).unwrap();
        let reference = format!("rootfs:{}", file.display());
        sandbox.banger("image pull").arg(&reference).run().ok();
        assert_clean(&root_file(&sandbox, &reference));
    }
    let file = sandbox.scratch().join("root.tar.xz");
    let output = sandbox
        .banger("vm run --rm --image")
        .arg(format!("rootfs:{}", file.display()))
        .words("-- cat /root/.seeded")
        .run();
    assert_eq!(output.ok(), "from the image", "what the image has in /root is on the work disk");
}

#[test]
fn relative_paths_are_those_of_the_caller() {
    let sandbox = Sandbox::new();
    fs::copy(image::busybox(), sandbox.scratch().join("mine.tar")).unwrap();
    sandbox.banger("image pull rootfs:mine.tar").run().ok();
    let list = sandbox.banger("image list").run();
    assert!(list.ok().contains(&sandbox.scratch().join("mine.tar").display().to_string()), "{list}");
}

#[test]
fn list_show_and_delete_and_an_image_in_use_stays() {
    let sandbox = Sandbox::new();
    let reference = image::busybox_reference();
    let list = sandbox.banger("image list --json").run().json();
    let names: Vec<_> =
        list["images"].as_array().unwrap().iter().map(|image| image["name"].as_str().unwrap()).collect();
    assert_eq!(names, [reference.as_str()]);
    let show = sandbox.banger("image show").arg(&reference).run();
    assert!(show.ok().contains("sha256:"), "{show}");
    sandbox.banger("vm create --name box").run().ok();
    sandbox.banger("image delete").arg(&reference).run().fails_with(&["busybox.tar", "box"]);
    sandbox.banger("vm delete box").run().ok();
    sandbox.banger("image delete").arg(&reference).run().ok();
    assert_eq!(entries(&sandbox.data().join("images")), Vec::<PathBuf>::new());
    sandbox.banger("image show").arg(&reference).run().fails_with(&["busybox.tar"]);
    sandbox.banger("image delete").arg(&reference).run().fails_with(&["busybox.tar"]);
}

#[test]
fn import_keeps_a_file_under_a_name_of_the_users() {
    let sandbox = Sandbox::new();
    sandbox.banger("image import").arg(image::busybox_reference()).arg("local/box:1").run().ok();
    let output = sandbox.banger("vm run --rm --image local/box:1 -- cat /root/.seeded").run();
    assert_eq!(output.ok(), "from the image");
}

#[test]
fn two_pulls_of_one_image_share_the_work() {
    let Some(registry) = Registry::shared() else { skip!("two_pulls", "no docker-registry") };
    let sandbox = Sandbox::new();
    let reference = format!("{}/team/dev:1", registry.host);
    let calls: Vec<_> = (0..4).map(|_| sandbox.banger("image pull").arg(&reference).start()).collect();
    for call in calls {
        call.wait().ok();
    }
    // The busybox image of every sandbox, and this one.
    assert_eq!(entries(&sandbox.data().join("images")).len(), 2);
}

/// Nothing of a failed pull may stay.
fn refused(sandbox: &Sandbox, reference: &str, words: &[&str]) -> Output {
    let before = entries(&sandbox.data().join("images"));
    let output = sandbox.banger("image pull").arg(reference).run();
    output.fails_with(words);
    assert_eq!(entries(&sandbox.data().join("images")), before);
    assert_eq!(entries(&sandbox.data().join("staging")), Vec::<PathBuf>::new());
    output
}

#[test]
fn references_that_name_nothing() {
    let Some(registry) = Registry::shared() else { skip!("references_that_name_nothing", "no docker-registry") };
    let sandbox = Sandbox::new();
    let host = &registry.host;
    refused(&sandbox, &format!("{host}/team/none:1"), &["team/none"]);
    refused(&sandbox, &format!("{host}/team/dev:none"), &["team/dev", "none"]);
    let nothing = format!("sha256:{}", "0".repeat(64));
    refused(&sandbox, &format!("{host}/team/dev@{nothing}"), &[&nothing[..20]]);
    refused(&sandbox, "127.0.0.1:1/team/dev:1", &["127.0.0.1:1", "refused"]);
    refused(&sandbox, "registry.invalid/team/dev:1", &["registry.invalid"]);
    refused(&sandbox, "ftp://host/x", &["ftp"]);
    refused(&sandbox, "Host/UPPER:1", &["lower case"]);
    refused(&sandbox, "oci-layout:/no/such/folder", &["/no/such/folder"]);
    refused(&sandbox, "oci-archive:/no/such/file", &["/no/such/file"]);
    refused(&sandbox, "docker-archive:/etc/passwd", &["/etc/passwd"]);
    refused(&sandbox, "rootfs:/etc/passwd", &["/etc/passwd"]);
    refused(&sandbox, &format!("oci-layout:{}:none", image::oci_layout().display()), &["none", "dev", "plain"]);
    refused(&sandbox, &format!("oci-layout:{}", image::oci_layout().display()), &["dev", "plain"]);
}

/// A layout of one image, then damaged.
fn broken(sandbox: &Sandbox, name: &str, layers: Vec<layout::Layer>, damage: impl Fn(&Path)) -> String {
    let dir = sandbox.scratch().join(name);
    layout::write(&dir, &[layout::Image { tag: "x", layers, config: json!({}) }]);
    damage(&dir);
    format!("oci-layout:{}", dir.display())
}

/// The largest blob: the layer.
fn layer_of(dir: &Path) -> PathBuf {
    entries(&dir.join("blobs/sha256")).into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
}

#[test]
fn images_that_are_damaged() {
    let sandbox = Sandbox::new();
    let good = || vec![layer(image::base)];
    let cut = |dir: &Path| {
        let path = layer_of(dir);
        let bytes = fs::read(&path).unwrap();
        fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    };
    refused(&sandbox, &broken(&sandbox, "cut", good(), cut), &["sha256:"]);
    let flip = |dir: &Path| {
        let path = layer_of(dir);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    refused(&sandbox, &broken(&sandbox, "flip", good(), flip), &["sha256:"]);
    refused(
        &sandbox,
        &broken(&sandbox, "gone", good(), |dir| fs::remove_file(layer_of(dir)).unwrap()),
        &["blobs/sha256"],
    );
    refused(
        &sandbox,
        &broken(&sandbox, "index", good(), |dir| fs::write(dir.join("index.json"), "{").unwrap()),
        &["index.json"],
    );
    let mut strange = good();
    strange[0].media_type = "application/x-strange".into();
    refused(&sandbox, &broken(&sandbox, "strange", strange, |_| ()), &["application/x-strange"]);
    let mut garbage = good();
    garbage[0].bytes = b"this is no gzip".to_vec();
    refused(&sandbox, &broken(&sandbox, "garbage", garbage, |_| ()), &[]);
    let mut lying = good();
    lying[0].diff_id = layout::digest(b"something else");
    refused(&sandbox, &broken(&sandbox, "lying", lying, |_| ()), &["sha256:"]);
    let climbing = vec![layer(|tree| tree.raw(b"../../evil", b"evil"))];
    refused(&sandbox, &broken(&sandbox, "climbing", climbing, |_| ()), &["../../evil"]);
    let latin = vec![layer(|tree| tree.raw(b"caf\xe9", b"latin"))];
    refused(&sandbox, &broken(&sandbox, "latin", latin, |_| ()), &["UTF-8", "caf"]);
    let other = |dir: &Path| {
        let index = fs::read_to_string(dir.join("index.json")).unwrap();
        fs::write(dir.join("index.json"), index.replace("amd64", "s390x")).unwrap();
    };
    refused(&sandbox, &broken(&sandbox, "other", good(), other), &["s390x"]);
}

#[test]
fn names_below_the_root_through_a_link_stay_inside_the_image() {
    let sandbox = Sandbox::new();
    let layers = vec![
        layer(|tree| {
            image::base(tree);
            tree.symlink("escape", "/../../../../tmp");
        }),
        layer(|tree| {
            tree.file("escape/inside", b"inside\n", 0o644, 0);
            tree.raw(b"/absolute", b"absolute\n");
        }),
    ];
    let reference = broken(&sandbox, "links", layers, |_| ());
    let script = "cat /tmp/inside /absolute";
    let output = sandbox.banger("vm run --rm --image").arg(&reference).words("-- sh -c").arg(script).run();
    assert_eq!(output.ok(), "inside\nabsolute");
    assert!(!Path::new("/tmp/inside").exists());
}

#[test]
fn an_image_without_a_shell_runs_what_it_has() {
    let sandbox = Sandbox::new();
    let layers = vec![layer(|tree| {
        tree.folder("bin", 0o755, 0);
        tree.file("bin/busybox", &fs::read(find("busybox").unwrap()).unwrap(), 0o755, 0);
    })];
    let reference = broken(&sandbox, "bare", layers, |_| ());
    sandbox.banger("image pull").arg(&reference).run().ok();
    let run = |words: &str| sandbox.banger("vm run --rm --image").arg(&reference).words("--").words(words).run();
    assert_eq!(run("/bin/busybox echo hi").ok(), "hi");
    run("/bin/sh").expect_status(127).says(&["/bin/sh"]);
}

#[test]
fn a_bomb_is_stopped() {
    let sandbox = Sandbox::new();
    // A file of 64 GiB in a few hundred KiB: its header, then the same compressed zeros again and again.
    let mut header = tar::Header::new_ustar();
    header.set_path("bomb").unwrap();
    header.set_mode(0o644);
    header.set_size(64 << 30);
    header.set_cksum();
    let zstd = |plain: Vec<u8>| {
        let packed = sandbox.tool("zstd").words("-q -1 -c").stdin(plain).run();
        packed.ok();
        packed.bytes
    };
    let bytes = [zstd(header.as_bytes().to_vec()), zstd(vec![0; 64 << 20]).repeat(1024)].concat();
    let file = sandbox.scratch().join("bomb.tar.zst");
    fs::write(&file, bytes).unwrap();
    refused(&sandbox, &format!("rootfs:{}", file.display()), &["bomb.tar.zst", "GiB"]);
}

/// What `debugfs` answers about a file system.
fn debugfs(file: &Path, request: &str) -> String {
    let output = Call::new(find("debugfs").unwrap()).words("-R").arg(request).arg(file).run();
    output.ok().to_owned()
}

#[test]
fn the_file_system_has_all_that_the_layers_say_and_nothing_of_what_they_hide() {
    let (hidden, shown) = ("what was there before ", "what came in its place ");
    // Effective and permitted: to bind to low ports.
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let sandbox = Sandbox::new();
    let layers = vec![
        layer(|tree| {
            image::base(tree);
            tree.file("bin/setuid", b"x", 0o4755, 1000);
            tree.capable("bin/ping", b"x", &capability);
            tree.device("dev/null", 1, 3);
            tree.file("overwritten", hidden.repeat(1000).as_bytes(), 0o644, 0);
            tree.file("deleted", hidden.repeat(1000).as_bytes(), 0o644, 0);
        }),
        layer(|tree| {
            tree.file("overwritten", shown.repeat(10).as_bytes(), 0o644, 0);
            tree.file(".wh.deleted", b"", 0o644, 0);
        }),
    ];
    let reference = broken(&sandbox, "honest", layers, |_| ());
    sandbox.banger("image pull").arg(&reference).run().ok();
    let file = root_file(&sandbox, &reference);
    assert_clean(&file);
    let header = Call::new(find("dumpe2fs").unwrap()).words("-h").arg(&file).run();
    assert!(header.ok().contains("has_journal"), "{header}");
    let told = |request: &str, words: &[&str]| {
        let answer = debugfs(&file, request);
        assert!(words.iter().all(|word| answer.contains(word)), "{words:?}: {request}: {answer}");
    };
    told("stat /bin/setuid", &["Type: regular", "Mode:  04755", "User:  1000", "Group:  1000"]);
    told("ea_list /bin/ping", &["security.capability (20) = 01 00 00 02 00 04 00 00"]);
    told("stat /dev/null", &["Type: character special", "Mode:  0666", "01:03"]);
    let stored = data(&file);
    let is_stored = |words: &str| stored.windows(words.len()).any(|window| window == words.as_bytes());
    assert!(is_stored(shown), "the search finds what is there");
    assert!(!is_stored(hidden), "what a later layer hides was written all the same");
}

/// The bytes of a file without its holes.
fn data(path: &Path) -> Vec<u8> {
    let file = fs::File::open(path).unwrap();
    let (mut bytes, mut at) = (Vec::new(), 0);
    // Fails behind the last of them.
    while let Ok(begin) = seek(&file, SeekFrom::Data(at)) {
        at = seek(&file, SeekFrom::Hole(begin)).unwrap();
        let length = bytes.len();
        bytes.resize(length + usize::try_from(at - begin).unwrap(), 0);
        file.read_exact_at(&mut bytes[length..], begin).unwrap();
    }
    bytes
}

#[test]
fn a_file_of_more_than_4_gib_is_whole() {
    const BLOCK: u64 = 4096;
    let sandbox = Sandbox::new();
    let zeros = vec![0; 64 << 20];
    let beyond = [b"\0just beyond".as_slice(), &[0; 4084]].concat();
    let end = b"the end";
    let size = (4 << 30) + BLOCK + (128 << 20) + end.len() as u64;
    let mut header = tar::Header::new_ustar();
    header.set_path("big").unwrap();
    header.set_mode(0o644);
    header.set_size(size);
    header.set_cksum();
    let zstd = |plain: Vec<u8>| {
        let packed = sandbox.tool("zstd").words("-q -1 -c").stdin(plain).run();
        packed.ok();
        packed.bytes
    };
    let zeros = zstd(zeros);
    let last = [end.as_slice(), &[0; 512 - 7], &[0; 1024]].concat();
    let parts = [zstd(header.as_bytes().to_vec()), zeros.repeat(64), zstd(beyond), zeros.repeat(2), zstd(last)];
    let file = sandbox.scratch().join("big.tar.zst");
    fs::write(&file, parts.concat()).unwrap();
    let reference = format!("rootfs:{}", file.display());
    sandbox.banger("image pull").arg(&reference).within(BOUND * 2).run().ok();

    let file = root_file(&sandbox, &reference);
    assert_clean(&file);
    let stat = debugfs(&file, "stat /big");
    assert!(stat.contains(&format!("Size: {size}")), "{stat}");
    let image = fs::File::open(&file).unwrap();
    for (at, words) in [((4 << 30) + 1, b"just beyond".as_slice()), (size - 7, end)] {
        let block: u64 = debugfs(&file, &format!("bmap /big {}", at / BLOCK)).trim().parse().unwrap();
        let mut found = vec![0; words.len()];
        image.read_exact_at(&mut found, block * BLOCK + at % BLOCK).unwrap();
        assert_eq!(found, words, "at {at}");
    }
    assert!(image.metadata().unwrap().blocks() * 512 < 64 << 20, "zeros take no room: {:?}", image.metadata().unwrap());
}

#[test]
fn an_init_of_the_images_own_that_is_not_systemd_runs_beside_commands() {
    let sandbox = Sandbox::new();
    let file = sandbox.scratch().join("with-init.tar");
    let mut tree = image::Tree::new(fs::File::create(&file).unwrap());
    image::base(&mut tree);
    tree.folder("sbin", 0o755, 0);
    tree.symlink("sbin/init", "../bin/busybox");
    tree.folder("etc/init.d", 0o755, 0);
    tree.file("etc/init.d/rcS", b"#!/bin/sh\necho by init >/run/started\n", 0o755, 0);
    tree.file("etc/inittab", b"::sysinit:/etc/init.d/rcS\n::respawn:/bin/sleep 619\n", 0o644, 0);
    tree.finish();
    let reference = format!("rootfs:{}", file.display());
    sandbox.banger("vm run -d --name box --image").arg(&reference).run().ok();
    let vm = sandbox.existing("box");
    let first = vm.wait_for_process("/bin/sleep 619");
    assert_eq!(vm.sh("readlink /proc/1/exe; cat /run/started").run().ok(), "/bin/busybox\nby init");
    vm.exec(&format!("kill {first}")).run().ok();
    wait_for("init to start it again", || vm.process("/bin/sleep 619").filter(|again| *again != first));
    vm.does("stop");
    assert_eq!(vm.show()["last_end"]["reason"]["why"], "stopped");
    sandbox.assert_nothing_runs();
}

/// A way to a port of loopback by way of another address.
fn relay(address: SocketAddr, to: String) -> SocketAddr {
    let listener = TcpListener::bind(address).unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let Ok(far) = TcpStream::connect(&to) else { continue };
            for (mut from, mut to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
    at
}

#[test]
fn plain_http_beyond_loopback_only_where_the_configuration_says_so() {
    let name = "images: plain HTTP beyond loopback";
    let Some(registry) = Registry::shared() else { skip!(name, "no docker-registry") };
    // What is sent to an address of this host's own stays on it.
    let Some(own) = own_addresses().into_iter().find(IpAddr::is_ipv4) else { skip!(name, "no address but loopback") };
    let host = relay(SocketAddr::new(own, 0), registry.host.clone()).to_string();
    let mut sandbox = Sandbox::new();
    for proxy in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
        sandbox.set(proxy, "");
    }
    let reference = format!("{host}/team/dev:1");
    refused(&sandbox, &reference, &[&host, "insecure"]);
    let image = image::busybox_reference();
    sandbox.configure(&format!("image = \"{image}\"\n[registries]\ninsecure = [\"{host}\"]\n"));
    sandbox.banger("image pull").arg(&reference).run().ok();
    assert_clean(&root_file(&sandbox, &reference));
}
