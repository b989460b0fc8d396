//! `/boot-source`: what boots.

use serde::Serialize;
use std::path::PathBuf;

/// `BootSource`. A path that is not UTF-8 cannot be said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BootSource {
    /// The kernel, as ELF.
    pub kernel_image_path: PathBuf,
    /// The initramfs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initrd_path: Option<PathBuf>,
    /// The kernel's command line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_args: Option<String>,
}
