//! Images of the catalog: Debian, built from the packages that this host trusts already.
//!
//! Owns: the recipe of `debian-bookworm` and running `mmdebstrap` for it. The package sources are the host's own ([`apt`]), so
//! that its mirrors, proxies and keys are used, and nobody else is trusted. The result comes as one tar, straight out of the
//! tool. Needs root rights or, for an ordinary user, a range of subordinate user ids. Must not: leave anything behind.

mod apt;
mod build;
mod error;

pub use error::RecipeError;

use super::{Encoding, Layer, SourceError};
use crate::cancel::Cancel;
use crate::progress::Progress;
use banger_model::Digest;
use banger_model::api::image::ImageConfig;
use sha2::{Digest as _, Sha256};
use std::io::Read;

/// The release that is built.
const RELEASE: &str = "bookworm";

/// What is in it beside Debian's minimal base.
const PACKAGES: [&str; 20] = [
    "systemd",
    "systemd-sysv",
    "libpam-systemd",
    "dbus",
    "udev",
    "kmod",
    "git",
    "curl",
    "ca-certificates",
    "openssh-client",
    "iproute2",
    "iputils-ping",
    "netbase",
    "procps",
    "sudo",
    "less",
    "nano",
    "bash-completion",
    "bzip2",
    "xz-utils",
];

/// What is left out of the packages: a third of their size, of no use in a machine that lives for an hour.
const LEFT_OUT: [&str; 6] = [
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-include=/usr/share/locale/locale.alias",
];

/// What is done to the tree before it is packed; `$1` is the tree.
const FINISH: [&str; 3] = [
    // Housekeeping that would only slow down a machine's first minutes.
    r#"chroot "$1" systemctl --quiet disable apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer"#,
    // The build host's own; a machine gets its own at its start.
    r#"rm -f "$1/etc/hostname" "$1/etc/resolv.conf""#,
    // What users install later shall be whole.
    r#"rm -f "$1/etc/dpkg/dpkg.cfg.d/99mmdebstrap""#,
];

/// A recipe that is ready to be run.
#[derive(Debug)]
pub(super) struct Recipe {
    name: String,
    sources: apt::Sources,
}

/// Looks up everything that a build needs.
pub(super) fn resolve(name: &str, progress: &dyn Progress, cancel: &Cancel) -> Result<Recipe, SourceError> {
    let failed = |source| failed(name, source);
    build::check_host().map_err(failed)?;
    let sources = apt::sources(RELEASE, cancel).map_err(failed)?;
    if sources.borrowed {
        progress.line(&format!("apt's sources on this host have no {RELEASE}: asking their mirrors for it"));
    }
    Ok(Recipe { name: name.to_owned(), sources })
}

fn failed(name: &str, source: RecipeError) -> SourceError {
    match source {
        RecipeError::Cancelled => SourceError::Cancelled,
        source => SourceError::Recipe { name: name.to_owned(), source },
    }
}

/// Its only layer: known when it is made.
pub(super) fn layer() -> Layer {
    Layer { digest: None, diff_id: None, size: None, encoding: Encoding::None }
}

/// How commands run in it.
pub(super) fn config() -> ImageConfig {
    let env = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"];
    ImageConfig {
        env: env.map(str::to_owned).into(),
        user: "root".into(),
        workdir: "/root".into(),
        cmd: vec!["/bin/bash".into()],
        ..ImageConfig::default()
    }
}

/// The identity of an image: what is in it, and how commands run in it.
pub(super) fn identity(tar: &Digest) -> Digest {
    let config = serde_json::to_vec(&config()).unwrap_or_default();
    let mut hash = Sha256::new();
    hash.update(config);
    hash.update(tar.as_bytes());
    Digest::from_bytes(hash.finalize().into())
}

impl Recipe {
    /// Starts the build; the reader is its tar.
    pub(super) fn open<'a>(
        &'a self,
        progress: &'a dyn Progress,
        cancel: &Cancel,
    ) -> Result<impl Read + Send + 'a, SourceError> {
        build::start(self, progress, cancel).map_err(|source| failed(&self.name, source))
    }

    /// What errors call it.
    pub(super) fn subject(&self) -> &str {
        &self.name
    }
}
