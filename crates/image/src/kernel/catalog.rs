//! Kernels that a name is enough for.
//!
//! Owns: turning the catalog name `debian` into Debian's newest cloud kernel, by way of the host's apt. Must not: trust
//! anything that apt has not verified: package lists are signed, apt checks the package against them, and the bytes are
//! checked once more against the list here. Nothing is installed or cached on the host, and no root rights are needed.

use super::CatalogError;
use crate::cancel::Cancel;
use crate::effect;
use crate::progress::Progress;
use crate::tool::{self, ToolError};
use banger_model::Digest;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Depends on the current kernel for clouds and virtual machines, whatever its version.
const META_PACKAGE: &str = "linux-image-cloud-amd64";
/// Reading apt's lists takes a second or two; without a writable cache, ten.
const LOOK_UP_LIMIT: Duration = Duration::from_secs(120);
/// 30 MB over a slow line.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(30 * 60);
/// The largest package that is taken, in bytes.
const MAX_PACKAGE: u64 = 1 << 30;

/// One version of a package, as the signed lists describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) size: u64,
    pub(crate) sha256: Digest,
}

/// The host's apt, with a cache of our own: it reads the host's lists and changes nothing of the host.
#[derive(Debug)]
pub(crate) struct Apt<'a> {
    cache: PathBuf,
    downloads: PathBuf,
    cancel: &'a Cancel,
}

impl<'a> Apt<'a> {
    /// Works in `folder`, which is empty and only ours.
    pub(crate) fn new(folder: &Path, cancel: &'a Cancel) -> io::Result<Self> {
        let apt = Self { cache: folder.join("cache"), downloads: folder.join("downloads"), cancel };
        effect::make_folder(&apt.cache)?;
        effect::make_folder(&apt.downloads)?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive");
        for (option, file) in [("pkgcache", "packages"), ("srcpkgcache", "sources")] {
            command.arg("-o").arg(format!("Dir::Cache::{option}={}", self.cache.join(file).display()));
        }
        command
    }

    /// Asks apt's lists for the kernel that is current now.
    pub(crate) fn resolve(&self) -> Result<Package, CatalogError> {
        let meta = self.show(META_PACKAGE, None)?;
        let (name, version) = field(&meta, "Depends").and_then(kernel_dependency).ok_or(CatalogError::NoKernel)?;
        let record = self.show(name, version)?;
        package(&record).ok_or_else(|| CatalogError::Record { package: name.to_owned() })
    }

    /// The lists' record of a package: of `version`, or of what apt would install.
    fn show(&self, name: &str, version: Option<&str>) -> Result<String, CatalogError> {
        let mut command = self.command("apt-cache");
        command.args(["show", "--no-all-versions", "--"]);
        command.arg(version.map_or_else(|| name.to_owned(), |version| format!("{name}={version}")));
        tool::capture(command, LOOK_UP_LIMIT, self.cancel)
            .map_err(|error| tool_error(error, |source| CatalogError::NotListed { package: name.to_owned(), source }))
    }

    /// Downloads `package` and checks it.
    pub(crate) fn download(&self, package: &Package, progress: &dyn Progress) -> Result<PathBuf, CatalogError> {
        let mut command = self.command("apt-get");
        // Root's apt drops its rights for downloads, but cannot then reach a private folder, and warns.
        command.args(["-o", "APT::Sandbox::User=root", "-o", "APT::Get::AllowUnauthenticated=false"]);
        command.args([
            "-o",
            "Acquire::Retries=3",
            "-o",
            "Acquire::http::Timeout=30",
            "-o",
            "Acquire::https::Timeout=30",
        ]);
        command.args(["-q", "download", &format!("{}={}", package.name, package.version)]);
        command.current_dir(&self.downloads);
        let mut told = 0;
        let downloaded = tool::run(command, DOWNLOAD_LIMIT, self.cancel, || {
            let here = largest_file(&self.downloads).map_or(0, |(_, length)| length.min(package.size));
            if here >= told + (256 << 10) {
                told = here;
                progress.bytes(here, Some(package.size));
            }
        });
        let name = || package.name.clone();
        downloaded.map_err(|error| tool_error(error, |source| CatalogError::Download { package: name(), source }))?;
        let Some((path, length)) = largest_file(&self.downloads) else {
            return Err(CatalogError::NothingDownloaded { package: name() });
        };
        progress.bytes(length, Some(package.size));
        let found = digest(&path, self.cancel)?;
        if found != package.sha256 {
            return Err(CatalogError::Digest { package: name(), expected: package.sha256, found });
        }
        Ok(path)
    }
}

fn tool_error(error: ToolError, other: impl FnOnce(ToolError) -> CatalogError) -> CatalogError {
    match error {
        ToolError::Cancelled => CatalogError::Cancelled,
        ToolError::Missing { .. } => CatalogError::NoApt,
        error => other(error),
    }
}

/// The value of a one-line field in the first record of `text`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .take_while(|line| !line.is_empty())
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
}

/// The kernel among a meta package's dependencies, with its version if that is fixed.
fn kernel_dependency(depends: &str) -> Option<(&str, Option<&str>)> {
    let kernel = depends.split(',').map(str::trim).find(|one| one.starts_with("linux-image-"))?;
    let (name, rest) = kernel.split_once(' ').unwrap_or((kernel, ""));
    let version = rest.trim().strip_prefix("(=").and_then(|rest| rest.strip_suffix(')')).map(str::trim);
    Some((name, version))
}

fn package(record: &str) -> Option<Package> {
    let get = |name| field(record, name).filter(|value| !value.is_empty());
    Some(Package {
        name: get("Package")?.to_owned(),
        version: get("Version")?.to_owned(),
        size: get("Size")?.parse().ok().filter(|size| *size <= MAX_PACKAGE)?,
        sha256: format!("sha256:{}", get("SHA256")?).parse().ok()?,
    })
}

fn largest_file(folder: &Path) -> Option<(PathBuf, u64)> {
    let entries = std::fs::read_dir(folder).ok()?.filter_map(Result::ok);
    let files = entries.filter_map(|entry| Some((entry.path(), entry.metadata().ok().filter(|m| m.is_file())?.len())));
    files.max_by_key(|(_, length)| *length)
}

fn digest(path: &Path, cancel: &Cancel) -> Result<Digest, CatalogError> {
    let read = || -> io::Result<Option<Digest>> {
        let mut file = File::open(path)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 256 << 10];
        while !cancel.is_cancelled() {
            match file.read(&mut buffer)? {
                0 => return Ok(Some(Digest::from_bytes(hash.finalize().into()))),
                n => hash.update(&buffer[..n]),
            }
        }
        Ok(None)
    };
    read().map_err(CatalogError::Read)?.ok_or(CatalogError::Cancelled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_found_among_dependencies() {
        let found = kernel_dependency("linux-base (>= 4.3~), linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)");
        assert_eq!(found, Some(("linux-image-6.1.0-56-cloud-amd64", Some("6.1.192-2"))));
        assert_eq!(kernel_dependency("linux-image-6.1.0-1-x"), Some(("linux-image-6.1.0-1-x", None)));
        assert_eq!(kernel_dependency("kmod, initramfs-tools | linux-initramfs-tool"), None);
    }

    #[test]
    fn a_record_without_a_checksum_is_not_used() {
        let record = format!("Package: a\nVersion: 1\nSize: 5\nSHA256: {}\n\nPackage: b\n", "ab".repeat(32));
        let parsed = package(&record).unwrap();
        assert_eq!((parsed.name.as_str(), parsed.size), ("a", 5));
        for missing in ["Package", "Version", "Size", "SHA256"] {
            assert_eq!(package(&record.replacen(missing, "X", 1)), None, "{missing}");
        }
        assert_eq!(package(&record.replace("Size: 5", "Size: 99999999999")), None);
    }
}
