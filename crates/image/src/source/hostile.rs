//! Documents of images as nobody would write them, and archives of such: an error each time, never a panic.

use super::archive::Archive;
use super::oci::{self, Blobs};
use super::{SourceError, docker_archive, layout};
use crate::cancel::Cancel;
use banger_damage::fuzz::fuzz;
use banger_model::Digest;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::HashMap;

/// Documents by digest.
#[derive(Default)]
struct Memory(HashMap<Digest, Vec<u8>>);

impl Memory {
    fn put(&mut self, bytes: Vec<u8>) -> Value {
        let digest = oci::digest(&bytes);
        let descriptor = json!({ "digest": digest, "size": bytes.len() });
        self.0.insert(digest, bytes);
        descriptor
    }
}

impl Blobs for Memory {
    fn subject(&self) -> String {
        "a test".into()
    }

    fn manifest(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, SourceError> {
        self.blob(digest, limit)
    }

    fn blob(&self, digest: &Digest, _limit: u64) -> Result<Vec<u8>, SourceError> {
        Ok(self.0.get(digest).cloned().unwrap_or_default())
    }
}

fn with(mut object: Value, more: &Value) -> Value {
    if let (Some(object), Some(more)) = (object.as_object_mut(), more.as_object()) {
        object.extend(more.clone());
    }
    object
}

fn config() -> Value {
    json!({
        "architecture": "amd64", "os": "linux",
        "config": { "Env": ["PATH=/bin"], "Cmd": ["sh"], "User": "0", "WorkingDir": "/", "Labels": { "a": "b" } },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", "ab".repeat(32))] },
    })
}

/// Anything that JSON can say, and what readers may stumble on.
fn anything() -> impl Strategy<Value = Value> {
    let digest = format!("sha256:{}", "cd".repeat(32));
    let words = vec![
        json!(""),
        json!("linux"),
        json!("amd64"),
        json!(digest),
        json!("sha256:"),
        json!("sha512:00"),
        json!("../../etc/passwd"),
        json!("\0"),
        json!("x".repeat(5000)),
        json!(oci::OCI_INDEX),
        json!(oci::DOCKER_MANIFEST),
        json!("application/vnd.oci.image.layer.v1.tar+gzip"),
        json!(u64::MAX),
        json!(-1),
        json!(1.5e300),
    ];
    let leaf = prop_oneof![
        4 => prop::sample::select(words),
        1 => Just(Value::Null), 1 => any::<bool>().prop_map(Value::from), 1 => any::<i64>().prop_map(Value::from),
        1 => ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-zA-Z]{0,9}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Puts `value` in the place that `steps` lead to, or takes away what is there.
fn change(document: &mut Value, steps: &[usize], value: Option<Value>) {
    let Some((step, rest)) = steps.split_first() else {
        if let Some(value) = value {
            *document = value;
        }
        return;
    };
    match document {
        Value::Object(map) if !map.is_empty() => {
            let key = map.keys().nth(step % map.len()).cloned().unwrap_or_default();
            match (rest.is_empty(), value) {
                (true, None) => drop(map.remove(&key)),
                (_, value) => change(&mut map[&key], rest, value),
            }
        }
        Value::Array(list) if !list.is_empty() => {
            let at = step % list.len();
            change(&mut list[at], rest, value);
        }
        other => *other = value.unwrap_or_default(),
    }
}

type Change = (Vec<usize>, Option<Value>);

fn changes() -> impl Strategy<Value = Vec<Change>> {
    prop::collection::vec((prop::collection::vec(0_usize..6, 0..4), prop::option::of(anything())), 0..3)
}

fn changed(mut document: Value, changes: &[Change]) -> Vec<u8> {
    for (steps, value) in changes {
        change(&mut document, steps, value.clone());
    }
    document.to_string().into_bytes()
}

fn archive(files: &[(&str, &[u8])]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new_in("/dev/shm").or_else(|_| tempfile::NamedTempFile::new()).unwrap();
    let mut tar = tar::Builder::new(file.as_file());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, *content).unwrap();
    }
    tar.finish().unwrap();
    drop(tar);
    file
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn indexes_manifests_and_configurations(
        (of_config, of_manifest, of_index) in (changes(), changes(), changes()), cut in prop::option::of(0_usize..900),
    ) {
        let mut memory = Memory::default();
        let config = memory.put(changed(config(), &of_config));
        let config = with(config, &json!({ "mediaType": "application/vnd.oci.image.config.v1+json" }));
        let layer = json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "size": 5,
            "digest": format!("sha256:{}", "ef".repeat(32)),
        });
        let manifest = json!({ "mediaType": oci::OCI_MANIFEST, "schemaVersion": 2, "config": config, "layers": [layer] });
        let manifest = memory.put(changed(manifest, &of_manifest));
        let platform = json!({ "mediaType": oci::OCI_MANIFEST, "platform": { "os": "linux", "architecture": "amd64" } });
        let index = json!({ "mediaType": oci::OCI_INDEX, "manifests": [with(manifest, &platform)] });
        let index = changed(index, &of_index);
        let described = oci::describe(&memory, index.clone(), "");
        if of_config.is_empty() && of_manifest.is_empty() && of_index.is_empty() {
            prop_assert_eq!(described.unwrap().layers.len(), 1);
        }
        let _any = oci::describe(&memory, index[..cut.unwrap_or(0).min(index.len())].to_vec(), oci::OCI_INDEX);
    }

    #[test]
    fn what_docker_saves(of_list in changes(), of_config in changes(), flips in prop::collection::vec((0_usize..6000, any::<u8>()), 0..4)) {
        let config = changed(config(), &of_config);
        let list = changed(json!([{ "Config": "config.json", "RepoTags": ["a:b"], "Layers": ["layer.tar"] }]), &of_list);
        let file = archive(&[("manifest.json", &list), ("config.json", &config), ("layer.tar", b"layer")]);
        let mut bytes = std::fs::read(file.path()).unwrap();
        let length = bytes.len();
        for (at, byte) in &flips {
            bytes[at % length] = *byte;
        }
        std::fs::write(file.path(), bytes).unwrap();
        let described = Archive::open(file.path(), &Cancel::new()).and_then(docker_archive::describe);
        if of_list.is_empty() && of_config.is_empty() && flips.is_empty() {
            prop_assert_eq!(described.unwrap().0.layers.len(), 1);
        }
    }

    #[test]
    fn layouts_in_archives(of_version in changes(), of_index in changes(), tag in prop::option::of("[a-z]{1,3}")) {
        let version = changed(json!({ "imageLayoutVersion": "1.0.0" }), &of_version);
        let entry = json!({
            "mediaType": oci::OCI_MANIFEST, "digest": format!("sha256:{}", "ab".repeat(32)), "size": 3,
            "annotations": { "org.opencontainers.image.ref.name": "a" },
        });
        let index = changed(json!({ "manifests": [entry] }), &of_index);
        let file = archive(&[("oci-layout", &version), ("index.json", &index)]);
        let archive = Archive::open(file.path(), &Cancel::new()).unwrap();
        prop_assert!(layout::describe(&layout::Layout::Archive(archive), tag.as_deref()).is_err(), "there is no manifest");
    }

    #[test]
    fn archives_of_anything(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let _any = Archive::open(file.path(), &Cancel::new()).and_then(docker_archive::describe);
    }
}

/// A file of holes costs nothing; a name as long as it would fill the memory.
#[test]
fn a_name_as_long_as_the_archive_is_refused() {
    for kind in *b"LKx" {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_size(8 << 40);
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_cksum();
        std::fs::write(file.path(), header.as_bytes()).unwrap();
        // ext4's longest file is 16 TiB.
        file.as_file().set_len((8 << 40) + 4096).unwrap();
        let begun = std::time::Instant::now();
        let error = Archive::open(file.path(), &Cancel::new()).unwrap_err();
        assert!(matches!(error, SourceError::Image { .. }), "{error}");
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "it read on");
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "how much was tried is for the reader of the log")]
fn fuzzed_documents_and_archives() {
    let digest = oci::digest(b"what is asked for");
    let descriptor = json!({ "digest": digest, "size": 3, "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip" });
    let manifest =
        json!({ "mediaType": oci::OCI_MANIFEST, "schemaVersion": 2, "config": descriptor, "layers": [descriptor] });
    let platform = json!({ "mediaType": oci::OCI_MANIFEST, "platform": { "os": "linux", "architecture": "amd64" } });
    let index = json!({ "mediaType": oci::OCI_INDEX, "manifests": [with(descriptor.clone(), &platform)] });
    let corpus = [manifest.clone(), index, config()].map(|document| document.to_string().into_bytes());
    let words: [&[u8]; 6] = [
        b"null",
        b"[]",
        b"{}",
        b"-1",
        b"\"sha256:\"",
        b"\"application/vnd.docker.distribution.manifest.list.v2+json\"",
    ];
    let words = words.as_slice();
    println!(
        "{}",
        fuzz("OCI documents", &corpus, words, 8 << 20, |bytes| {
            // As the configuration of an image, as an image, and as what leads to one: each under the digest that it has.
            let mut memory = Memory::default();
            let given = memory.put(bytes.to_vec());
            let config = with(given.clone(), &json!({ "mediaType": "application/vnd.oci.image.config.v1+json" }));
            let manifest = with(manifest.clone(), &json!({ "config": config })).to_string().into_bytes();
            let index =
                json!({ "mediaType": oci::OCI_INDEX, "manifests": [with(given, &platform)] }).to_string().into_bytes();
            for document in [manifest, index, bytes.to_vec()] {
                let _any = oci::describe(&memory, document, "");
            }
        })
    );
    let list = json!([{ "Config": "config.json", "RepoTags": ["a:b"], "Layers": ["layer.tar"] }]).to_string();
    let config = config().to_string();
    let saved =
        archive(&[("manifest.json", list.as_bytes()), ("config.json", config.as_bytes()), ("layer.tar", b"layer")]);
    let corpus = [std::fs::read(saved.path()).unwrap()];
    let file = archive(&[]);
    println!(
        "{}",
        fuzz("docker archive", &corpus, words, 8 << 20, |bytes| {
            std::fs::write(file.path(), bytes).unwrap();
            let _any = Archive::open(file.path(), &Cancel::new()).and_then(docker_archive::describe);
            let layout = Archive::open(file.path(), &Cancel::new()).map(layout::Layout::Archive);
            let _any = layout.and_then(|layout| layout::describe(&layout, None));
        })
    );
}
