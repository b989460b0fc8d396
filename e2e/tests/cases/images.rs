//! Images: from every source to a bootable file system, and every source that is no good.

use banger_e2e::{
    Output, Sandbox,
    fixture::{
        image::{self, layer},
        layout,
        registry::{Registry, skopeo},
    },
    place::find,
    sandbox::entries,
    skip,
};
use serde_json::json;
use std::{
    fs,
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
    let check = banger_e2e::Call::new(find("e2fsck").unwrap()).words("-fn").arg(file).run();
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
