//! What people write to say which image or kernel they mean.

use crate::{Digest, digest::DigestError};
use serde::{Deserialize, Serialize};
use std::{fmt, path::PathBuf, str::FromStr};

/// Where an image comes from. Displays in its canonical form, which parses back to itself and names the image in the
/// store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ImageRef {
    /// A recipe that banger itself knows, like `debian-bookworm`.
    Catalog(String),
    /// A repository of an OCI distribution registry.
    Registry(RegistryRef),
    /// A folder in OCI image layout, with the tag when it holds several images.
    OciLayout {
        /// The folder.
        dir: PathBuf,
        /// The image's `org.opencontainers.image.ref.name`.
        tag: Option<String>,
    },
    /// A tar of an OCI image layout, as `skopeo copy … oci-archive:FILE` writes it.
    OciArchive {
        /// The tar.
        file: PathBuf,
    },
    /// What `docker save` writes.
    DockerArchive {
        /// The tar.
        file: PathBuf,
    },
    /// A tar of a root file system, plain or compressed with gzip, xz or zstd.
    Rootfs {
        /// The tar.
        file: PathBuf,
    },
}

/// `HOST[:PORT]/NAME[:TAG][@DIGEST]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistryRef {
    /// The registry's host and, when not the default, its port.
    pub host: String,
    /// The repository's path.
    pub repository: String,
    /// What to take from the repository.
    pub selector: Selector,
}

/// Which manifest of a repository is meant. A digest beats a tag written beside it, as in Docker.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Selector {
    /// A movable name.
    Tag(String),
    /// Exactly these bytes.
    Digest(Digest),
}

/// Names that stand for recipes rather than for `docker.io/library/NAME`.
pub const IMAGE_CATALOG: [&str; 1] = ["debian-bookworm"];

/// Names of kernels that banger knows how to fetch.
pub const KERNEL_CATALOG: [&str; 1] = ["debian"];

/// A text that names no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message says what it is")]
pub enum ReferenceError {
    #[error("the image reference is empty")]
    Empty,
    #[error(
        "{reference:?}: unknown scheme {scheme:?}; known are docker://, oci-layout:, oci-archive:, docker-archive: and rootfs:"
    )]
    Scheme { reference: String, scheme: String },
    #[error("{reference:?}: {part} is empty or has characters that are not allowed there")]
    Malformed { reference: String, part: &'static str },
    #[error("{reference:?}: the repository's name must be lower case")]
    UpperCase { reference: String },
    #[error("{reference:?}: the digest is not usable")]
    Digest { reference: String, source: DigestError },
}

impl ImageRef {
    /// Whether the bytes come from a file or folder of this host, so that relative paths matter.
    pub fn local_path(&self) -> Option<&PathBuf> {
        match self {
            Self::OciLayout { dir: path, .. }
            | Self::OciArchive { file: path }
            | Self::DockerArchive { file: path }
            | Self::Rootfs { file: path } => Some(path),
            Self::Catalog(_) | Self::Registry(_) => None,
        }
    }

    /// The same reference with its local path, if any, changed by `f`: how a client makes paths absolute.
    pub fn map_path(self, f: impl FnOnce(PathBuf) -> PathBuf) -> Self {
        match self {
            Self::OciLayout { dir, tag } => Self::OciLayout { dir: f(dir), tag },
            Self::OciArchive { file } => Self::OciArchive { file: f(file) },
            Self::DockerArchive { file } => Self::DockerArchive { file: f(file) },
            Self::Rootfs { file } => Self::Rootfs { file: f(file) },
            other => other,
        }
    }
}

fn valid_tag(tag: &str) -> bool {
    (1..=128).contains(&tag.len())
        && !tag.starts_with(['.', '-'])
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// The grammar of the OCI distribution specification, "name".
fn valid_repository(name: &str) -> bool {
    name.len() <= 255
        && name.split('/').all(|part| {
            part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part.ends_with(|c: char| c.is_ascii_alphanumeric())
                && part.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
        })
}

fn valid_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(v6) => match v6.split_once(']') {
            Some((name, rest)) => (name, rest.strip_prefix(':').or((rest.is_empty()).then_some("0"))),
            None => return false,
        },
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, Some("0")),
        },
    };
    name.contains(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':'))
        && port.is_some_and(|p| p.parse::<u16>().is_ok())
}

fn parse_registry(reference: &str, body: &str) -> Result<RegistryRef, ReferenceError> {
    let malformed = |part| ReferenceError::Malformed { reference: reference.into(), part };
    let (name, digest) = match body.split_once('@') {
        Some((name, digest)) => {
            let digest =
                digest.parse().map_err(|source| ReferenceError::Digest { reference: reference.into(), source })?;
            (name, Some(digest))
        }
        None => (body, None),
    };
    // Docker's rule: the first part is a host when it has a dot or a port, or is localhost.
    let (host, path) = match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => ("docker.io", name),
    };
    let (path, tag) = match path.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (path, None),
    };
    if !valid_host(host) {
        return Err(malformed("the registry's host"));
    }
    if tag.is_some_and(|tag| !valid_tag(tag)) {
        return Err(malformed("the tag"));
    }
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(ReferenceError::UpperCase { reference: reference.into() });
    }
    let repository =
        if host == "docker.io" && !path.contains('/') { format!("library/{path}") } else { path.to_owned() };
    if path.is_empty() || !valid_repository(&repository) {
        return Err(malformed("the repository's name"));
    }
    let selector = match (digest, tag) {
        (Some(digest), _) => Selector::Digest(digest),
        (None, tag) => Selector::Tag(tag.unwrap_or("latest").to_owned()),
    };
    Ok(RegistryRef { host: host.to_owned(), repository, selector })
}

impl FromStr for ImageRef {
    type Err = ReferenceError;
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let path = |path: &str, part| match path {
            "" => Err(ReferenceError::Malformed { reference: text.into(), part }),
            path => Ok(PathBuf::from(path)),
        };
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if let Some(body) = text.strip_prefix("docker://") {
            return parse_registry(text, body).map(Self::Registry);
        }
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(ReferenceError::Scheme { reference: text.into(), scheme: scheme.into() });
        }
        if let Some(body) = text.strip_prefix("oci-layout:") {
            let (dir, tag) = match body.rsplit_once(':') {
                Some((dir, tag)) if valid_tag(tag) => (dir, Some(tag.to_owned())),
                _ => (body, None),
            };
            return Ok(Self::OciLayout { dir: path(dir, "the folder")?, tag });
        }
        if let Some(file) = text.strip_prefix("oci-archive:") {
            return Ok(Self::OciArchive { file: path(file, "the file")? });
        }
        if let Some(file) = text.strip_prefix("docker-archive:") {
            return Ok(Self::DockerArchive { file: path(file, "the file")? });
        }
        if let Some(file) = text.strip_prefix("rootfs:") {
            return Ok(Self::Rootfs { file: path(file, "the file")? });
        }
        if IMAGE_CATALOG.contains(&text) {
            return Ok(Self::Catalog(text.into()));
        }
        parse_registry(text, text).map(Self::Registry)
    }
}

impl fmt::Display for RegistryRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.selector {
            Selector::Tag(tag) => write!(f, "{}/{}:{tag}", self.host, self.repository),
            Selector::Digest(digest) => write!(f, "{}/{}@{digest}", self.host, self.repository),
        }
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Catalog(name) => f.write_str(name),
            Self::Registry(registry) => write!(f, "docker://{registry}"),
            Self::OciLayout { dir, tag: None } => write!(f, "oci-layout:{}", dir.display()),
            Self::OciLayout { dir, tag: Some(tag) } => write!(f, "oci-layout:{}:{tag}", dir.display()),
            Self::OciArchive { file } => write!(f, "oci-archive:{}", file.display()),
            Self::DockerArchive { file } => write!(f, "docker-archive:{}", file.display()),
            Self::Rootfs { file } => write!(f, "rootfs:{}", file.display()),
        }
    }
}

impl TryFrom<String> for ImageRef {
    type Error = ReferenceError;
    fn try_from(text: String) -> Result<Self, ReferenceError> {
        text.parse()
    }
}

impl From<ImageRef> for String {
    fn from(reference: ImageRef) -> Self {
        reference.to_string()
    }
}

#[cfg(feature = "schema")]
impl utoipa::PartialSchema for ImageRef {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        String::schema()
    }
}

#[cfg(feature = "schema")]
impl utoipa::ToSchema for ImageRef {}

/// A kernel's name in the store: a catalog name, or what the user called an import.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(value_type = String))]
pub struct KernelRef(String);

/// A text that cannot name a kernel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} cannot name a kernel: use 1 to 128 letters, digits, dots, hyphens and underscores, beginning with a letter or digit"
)]
pub struct KernelRefError(String);

impl KernelRef {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether banger knows how to fetch it.
    pub fn is_catalog(&self) -> bool {
        KERNEL_CATALOG.contains(&self.as_str())
    }
}

impl FromStr for KernelRef {
    type Err = KernelRefError;
    fn from_str(text: &str) -> Result<Self, KernelRefError> {
        let valid = valid_tag(text) && text.starts_with(|c: char| c.is_ascii_alphanumeric());
        valid.then(|| Self(text.into())).ok_or_else(|| KernelRefError(text.chars().take(80).collect()))
    }
}

impl fmt::Display for KernelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for KernelRef {
    type Error = KernelRefError;
    fn try_from(text: String) -> Result<Self, KernelRefError> {
        text.parse()
    }
}

impl From<KernelRef> for String {
    fn from(kernel: KernelRef) -> Self {
        kernel.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn canonical(text: &str) -> String {
        text.parse::<ImageRef>().map(|r| r.to_string()).unwrap_or_else(|e| format!("error: {e}"))
    }

    #[test]
    fn bare_references_read_as_docker_reads_them() {
        assert_eq!(canonical("alpine"), "docker://docker.io/library/alpine:latest");
        assert_eq!(canonical("team/dev:1"), "docker://docker.io/team/dev:1");
        assert_eq!(canonical("localhost/dev"), "docker://localhost/dev:latest");
        assert_eq!(canonical("127.0.0.1:5000/team/dev:1"), "docker://127.0.0.1:5000/team/dev:1");
        assert_eq!(canonical("docker://[::1]:5000/x"), "docker://[::1]:5000/x:latest");
        assert_eq!(canonical("debian-bookworm"), "debian-bookworm");
        let digest = Digest::from_bytes([1; 32]);
        assert_eq!(canonical(&format!("ghcr.io/a/b:tag@{digest}")), format!("docker://ghcr.io/a/b@{digest}"));
    }

    #[test]
    fn local_forms() {
        assert_eq!(canonical("oci-layout:/a/b:v1"), "oci-layout:/a/b:v1");
        assert_eq!(canonical("oci-layout:/a/b"), "oci-layout:/a/b");
        assert_eq!(canonical("rootfs:x.tar.gz"), "rootfs:x.tar.gz");
    }

    #[test]
    fn refusals_name_the_part() {
        for (text, part) in [
            ("", "empty"),
            ("ftp://x/y", "scheme \"ftp\""),
            ("rootfs:", "the file"),
            ("a:b c", "the tag"),
            ("../x", "the registry's host"),
            ("Alpine", "lower case"),
            ("x@sha256:12", "the digest"),
            ("h.example:99999/x", "host"),
        ] {
            assert!(canonical(text).contains(part), "{text}: {}", canonical(text));
        }
    }

    proptest! {
        #[test]
        fn canonical_forms_parse_back(text in "(docker://|oci-layout:|rootfs:)?[a-z0-9.:/@_-]{0,40}") {
            if let Ok(reference) = text.parse::<ImageRef>() {
                prop_assert_eq!(reference.to_string().parse::<ImageRef>(), Ok(reference));
            }
        }
    }
}
