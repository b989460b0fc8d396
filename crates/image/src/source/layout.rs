//! Images in OCI image layout, in a folder or in a tar of one.
//!
//! Owns: the layout's two fixed files and its way to name blobs. Must not: judge manifests (that is [`super::oci`]).

use super::archive::Archive;
use super::oci::{self, Blobs, Described, Descriptor, Index, MAX_MANIFEST};
use super::section::Section;
use super::{InvalidImage, SourceError, rootfs::open_file};
use banger_model::Digest;
use serde::Deserialize;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

/// The annotation that gives an entry of the index its tag.
const TAG: &str = "org.opencontainers.image.ref.name";

/// A layout that has been opened.
#[derive(Debug)]
pub(super) enum Layout {
    Folder(PathBuf),
    Archive(Archive),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    image_layout_version: String,
}

/// The image called `tag`, or the only one.
pub(super) fn describe(layout: &Layout, tag: Option<&str>) -> Result<Described, SourceError> {
    let invalid = |source| SourceError::Image { subject: layout.subject(), source };
    let version: Version = oci::parse("oci-layout", &layout.read("oci-layout", MAX_MANIFEST)?).map_err(invalid)?;
    if !version.image_layout_version.starts_with("1.") {
        let media_type = version.image_layout_version;
        return Err(invalid(InvalidImage::MediaType { what: "oci-layout", media_type }));
    }
    let bytes = oci::bounded("index.json", layout.read("index.json", MAX_MANIFEST)?, MAX_MANIFEST).map_err(invalid)?;
    let index: Index = oci::parse("index.json", &bytes).map_err(invalid)?;
    let tagged = select(index.manifests, tag).map_err(invalid)?;
    let chosen = oci::choose(&tagged).map_err(invalid)?;
    oci::follow(layout, chosen)
}

/// The entries with that tag; without one, all, if they have no more than one tag between them.
fn select(manifests: Vec<Descriptor>, tag: Option<&str>) -> Result<Vec<Descriptor>, InvalidImage> {
    let name = |descriptor: &Descriptor| descriptor.annotations.as_ref()?.get(TAG).cloned();
    let mut tags: Vec<String> = manifests.iter().filter_map(name).collect();
    tags.sort_unstable();
    tags.dedup();
    match tag {
        Some(tag) => {
            let of_tag: Vec<_> = manifests.into_iter().filter(|one| name(one).as_deref() == Some(tag)).collect();
            if of_tag.is_empty() { Err(InvalidImage::NoTag { tag: tag.to_owned(), has: tags }) } else { Ok(of_tag) }
        }
        None if tags.len() > 1 => Err(InvalidImage::Several { has: tags }),
        None => Ok(manifests),
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

impl Layout {
    fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, SourceError> {
        match self {
            Self::Archive(archive) => archive.read(name, limit),
            Self::Folder(folder) => {
                let path = folder.join(name);
                let (file, _) = open_file(&path).map_err(|error| self.missing(name, error))?;
                let mut bytes = Vec::new();
                match file.take(limit + 1).read_to_end(&mut bytes) {
                    Ok(_) => Ok(bytes),
                    Err(source) => Err(SourceError::File { path, source }),
                }
            }
        }
    }

    /// The bytes of a layer.
    pub(super) fn open(&self, digest: &Digest) -> Result<Section, SourceError> {
        let name = blob_name(digest);
        match self {
            Self::Archive(archive) => archive.file(&name).map(|(section, _)| section),
            Self::Folder(folder) => {
                let opened = open_file(&folder.join(&name)).map_err(|error| self.missing(&name, error));
                opened.map(|(file, length)| Section::new(Arc::new(file), 0, length))
            }
        }
    }

    /// A file that is missing from a folder that is there is the image's fault, not the path's.
    fn missing(&self, name: &str, error: SourceError) -> SourceError {
        match (&error, self) {
            (SourceError::File { source, .. }, Self::Folder(folder))
                if source.kind() == io::ErrorKind::NotFound && folder.is_dir() =>
            {
                SourceError::Image { subject: self.subject(), source: InvalidImage::Missing { name: name.to_owned() } }
            }
            (SourceError::File { source, .. }, Self::Folder(folder)) if source.kind() == io::ErrorKind::NotFound => {
                let source = io::ErrorKind::NotFound.into();
                SourceError::File { path: folder.clone(), source }
            }
            _ => error,
        }
    }
}

impl Blobs for Layout {
    fn subject(&self) -> String {
        match self {
            Self::Folder(folder) => folder.display().to_string(),
            Self::Archive(archive) => archive.subject().to_owned(),
        }
    }

    fn manifest(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, SourceError> {
        self.read(&blob_name(digest), limit)
    }

    fn blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, SourceError> {
        self.read(&blob_name(digest), limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

    fn put(dir: &Path, bytes: &str) -> Digest {
        let digest = oci::digest(bytes.as_bytes());
        fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
        fs::write(dir.join(blob_name(&digest)), bytes).unwrap();
        digest
    }

    /// An entry of an index for an image without layers that calls itself so; `more` follows its size.
    fn entry(dir: &Path, name: &str, more: &str) -> String {
        let config = format!(r#"{{"architecture":"amd64","os":"linux","config":{{"User":"{name}"}}}}"#);
        let digest = put(dir, &config);
        let config = format!(
            r#"{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":{}}}"#,
            config.len()
        );
        let manifest = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]}}"#);
        let digest = put(dir, &manifest);
        format!(r#"{{"mediaType":"{MANIFEST}","digest":"{digest}","size":{}{more}}}"#, manifest.len())
    }

    fn index(dir: &Path, entries: &[String]) {
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        fs::write(dir.join("index.json"), format!(r#"{{"manifests":[{}]}}"#, entries.join(","))).unwrap();
    }

    fn user(dir: &Path, tag: Option<&str>) -> Result<String, String> {
        let described = describe(&Layout::Folder(dir.to_owned()), tag);
        described.map(|image| image.config.user).map_err(|error| match error {
            SourceError::Image { source, .. } => source.to_string(),
            other => other.to_string(),
        })
    }

    fn tag(tag: &str) -> String {
        format!(r#","annotations":{{"{TAG}":"{tag}"}}"#)
    }

    fn platform(platform: &str) -> String {
        format!(r#","platform":{{{platform}}}"#)
    }

    #[test]
    fn a_tag_chooses_and_several_need_one() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        index(dir, &[entry(dir, "one", &tag("1")), entry(dir, "two", &tag("2"))]);
        assert_eq!(user(dir, Some("2")).unwrap(), "two");
        assert_eq!(user(dir, None).unwrap_err(), "it has several images: 1, 2; say which");
        assert_eq!(user(dir, Some("3")).unwrap_err(), "it has no image with the tag \"3\": it has 1, 2");
        index(dir, &[entry(dir, "one", "")]);
        assert_eq!(user(dir, None).unwrap(), "one");
    }

    #[test]
    fn the_entry_for_this_machine_that_asks_least_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let amd64 = r#""os":"linux","architecture":"amd64""#;
        let entries = [
            entry(dir, "arm", &platform(r#""os":"linux","architecture":"arm64""#)),
            entry(dir, "three", &platform(&format!(r#"{amd64},"variant":"v3""#))),
            entry(dir, "plain", &platform(amd64)),
            entry(dir, "windows", &platform(r#""os":"windows","architecture":"amd64""#)),
        ];
        index(dir, &entries);
        assert_eq!(user(dir, None).unwrap(), "plain");
        index(dir, &entries[..2]);
        assert_eq!(user(dir, None).unwrap(), "three");
        index(dir, &[entries[0].clone(), entries[3].clone()]);
        assert_eq!(user(dir, None).unwrap_err(), "it is not for linux/amd64: it has linux/arm64, windows/amd64");
        index(dir, &[]);
        assert_eq!(user(dir, None).unwrap_err(), "it is not for linux/amd64: it has nothing");
    }

    #[test]
    fn documents_are_checked_against_what_led_to_them() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let good = entry(dir, "one", "");
        index(dir, std::slice::from_ref(&good));
        let digest: Digest = good.split('"').find(|word| word.starts_with("sha256:")).unwrap().parse().unwrap();
        let path = dir.join(blob_name(&digest));
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, [bytes.as_slice(), b" "].concat()).unwrap();
        assert!(user(dir, None).unwrap_err().contains("was announced with"));
        let mut other = bytes;
        other[0] = b' ';
        fs::write(&path, other).unwrap();
        assert!(user(dir, None).unwrap_err().contains("its manifest hashes to"));
        fs::remove_file(&path).unwrap();
        assert_eq!(user(dir, None).unwrap_err(), format!("it has no {}", blob_name(&digest)));
        fs::remove_file(dir.join("oci-layout")).unwrap();
        assert_eq!(user(dir, None).unwrap_err(), "it has no oci-layout");
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"2.0"}"#).unwrap();
        assert!(user(dir, None).unwrap_err().contains("\"2.0\""));
        let missing = dir.join("missing");
        assert_eq!(user(&missing, None).unwrap_err(), format!("cannot read {}", missing.display()));
    }

    #[test]
    fn indexes_may_nest_but_not_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let mut nested = entry(dir, "deep", "");
        let mut seen = Vec::new();
        for _ in 0..4 {
            index(dir, std::slice::from_ref(&nested));
            seen.push(user(dir, None));
            let document = format!(r#"{{"manifests":[{nested}]}}"#);
            let (digest, size) = (put(dir, &document), document.len());
            nested = format!(r#"{{"mediaType":"{}","digest":"{digest}","size":{size}}}"#, oci::OCI_INDEX);
        }
        assert_eq!(seen[..3], [Ok("deep".into()), Ok("deep".into()), Ok("deep".into())]);
        assert_eq!(seen[3], Err("its indexes are nested too deep".into()));
    }
}
