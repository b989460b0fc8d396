//! What a VM is made of.

use crate::{ByteSize, Digest, ImageRef, KernelRef};
use serde::{Deserialize, Serialize};

/// Everything that was decided about a VM when it was created. Nothing here changes while the VM runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct VmSpec {
    /// Virtual CPUs, at least one.
    pub vcpu: u32,
    /// Guest memory in bytes, a whole number of MiB.
    pub memory: ByteSize,
    /// The size in bytes of the work disk at `/root`, and of the layer that the guest writes over its image. Both are sparse.
    pub disk: ByteSize,
    /// What the user called the image.
    pub image: ImageRef,
    /// The image that this name meant then.
    pub image_digest: Digest,
    /// What the user called the kernel.
    pub kernel: KernelRef,
    /// The kernel that this name meant then.
    pub kernel_digest: Digest,
    /// Which VMM may run it.
    pub vmm: VmmChoice,
    /// How it reaches the network.
    pub net: NetMode,
    /// How fast each of its disks may be used.
    #[serde(default, skip_serializing_if = "DiskLimits::is_none")]
    pub limits: DiskLimits,
}

/// How fast each of a VM's disks may be used. What is left out is not limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DiskLimits {
    /// Bytes a second, read and written together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<ByteSize>,
    /// Operations a second, reads and writes together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iops: Option<u32>,
}

impl DiskLimits {
    /// Whether nothing is limited.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// A program that runs a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum VmmKind {
    /// Firecracker; needs KVM.
    Firecracker,
    /// QEMU's `microvm` machine.
    Qemu,
}

/// How guest instructions are executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Accel {
    /// By the processor, through the host kernel.
    Kvm,
    /// By QEMU's translator: works everywhere, at a tenth of the speed.
    Tcg,
}

/// The user's wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum VmmChoice {
    /// Firecracker where KVM has been proved, else QEMU with KVM, else QEMU under TCG.
    #[default]
    Auto,
    /// Firecracker or nothing.
    Firecracker,
    /// QEMU or nothing.
    Qemu,
}

/// How the guest reaches the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum NetMode {
    /// Through a user-mode network process: the internet and a resolver, never the host's own addresses.
    User,
    /// Not at all.
    None,
}

macro_rules! words {
    ($type:ty, $what:literal, $($word:literal => $variant:ident),+) => {
        impl std::str::FromStr for $type {
            type Err = UnknownWord;
            fn from_str(word: &str) -> Result<Self, UnknownWord> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(UnknownWord { word: word.into(), what: $what, known: &[$($word),+] }),
                }
            }
        }
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(match self { $(Self::$variant => $word),+ })
            }
        }
    };
}

words!(VmmChoice, "a VMM", "auto" => Auto, "firecracker" => Firecracker, "qemu" => Qemu);
words!(VmmKind, "a VMM", "firecracker" => Firecracker, "qemu" => Qemu);
words!(NetMode, "a network mode", "user" => User, "none" => None);
words!(Accel, "an accelerator", "kvm" => Kvm, "tcg" => Tcg);

/// A word outside a closed list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is not {what}: choose {}", known.join(", "))]
pub struct UnknownWord {
    word: String,
    what: &'static str,
    known: &'static [&'static str],
}
