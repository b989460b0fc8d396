//! Images and kernels as clients ask for them and see them.

use crate::{ByteSize, Digest, ImageRef, KernelRef, VmName};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Asks for an image to be fetched or built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PullImage {
    /// Which. Local paths must be absolute.
    pub image: ImageRef,
    /// Ask the source again although the name is here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

/// Asks for a local file or folder to become an image with a name of the user's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ImportImage {
    /// A local form, with an absolute path.
    pub source: ImageRef,
    /// The name under which it is kept.
    pub name: ImageRef,
}

/// An image in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ImageView {
    /// Its name.
    pub name: ImageRef,
    /// The bytes that it was made of.
    pub digest: Digest,
    /// What its file system takes on the disk, in bytes.
    pub size: ByteSize,
    /// Milliseconds since the epoch.
    pub created_ms: u64,
    /// The init in it, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
    /// Its configuration.
    #[serde(default)]
    pub config: ImageConfig,
    /// What did not go well but left it usable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The VMs that need it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub used_by: Vec<VmName>,
}

/// The parts of an OCI image configuration that running commands depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ImageConfig {
    /// `NAME=VALUE`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// The working folder.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub workdir: String,
    /// `NAME|UID[:GROUP|GID]`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// What a container would run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// With these arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// Whatever its maker wrote.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub labels: std::collections::BTreeMap<String, String>,
}

/// All images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ImageList {
    /// Sorted by name.
    pub images: Vec<ImageView>,
}

/// Asks for a kernel of the catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PullKernel {
    /// Its catalog name.
    pub kernel: KernelRef,
    /// Fetch the newest although the name is here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

/// Asks for a kernel of the user's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ImportKernel {
    /// The name under which it is kept.
    pub name: KernelRef,
    /// Absolute path of a bzImage or an ELF vmlinux.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub kernel: PathBuf,
    /// Absolute path of its modules folder (`…/lib/modules/RELEASE`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub modules: Option<PathBuf>,
}

/// A kernel, in the store or to be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct KernelView {
    /// Its name.
    pub name: KernelRef,
    /// The bytes that it was made of; none while it is only in the catalog.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// As `uname -r` prints it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub release: String,
    /// Where it came from, like a package and its version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub origin: String,
    /// What it takes on the disk, in bytes.
    #[serde(default)]
    pub size: ByteSize,
    /// Milliseconds since the epoch.
    #[serde(default)]
    pub created_ms: u64,
    /// The VMs that need it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub used_by: Vec<VmName>,
}

/// All kernels, those of the catalog that are not here included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct KernelList {
    /// Sorted by name.
    pub kernels: Vec<KernelView>,
}
