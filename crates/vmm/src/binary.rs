//! The VMM programs on this host: where they are and which version.
//!
//! Owns: looking a program up in the places given, asking it for its version, and refusing versions we cannot drive.

use banger_model::spec::VmmKind;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;
use std::{fmt, io};

/// A VMM program that answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binary {
    /// What it is.
    pub kind: VmmKind,
    /// Its file.
    pub path: PathBuf,
    /// What it says it is.
    pub version: Version,
}

impl Binary {
    /// What there is to say of a program that is newer than any that banger was made for. It may well work.
    pub fn caution(&self) -> Option<String> {
        (self.kind == VmmKind::Firecracker && self.version > NEWEST_FIRECRACKER).then(|| {
            let (Version { major, minor, .. }, newest) = (OLDEST_FIRECRACKER, NEWEST_FIRECRACKER);
            format!(
                "Firecracker {} is newer than banger knows, which was made for {major}.{minor} to {}.{}",
                self.version, newest.major, newest.minor
            )
        })
    }
}

/// A program's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    /// Changes that break.
    pub major: u32,
    /// Changes that add.
    pub minor: u32,
    /// Changes that mend.
    pub patch: u32,
}

/// Which file a program is, cheaply: a replaced program has another size or time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileIdentity {
    /// Its path.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// When its content last changed, in nanoseconds since the epoch.
    pub mtime_ns: i64,
}

impl FileIdentity {
    /// Of the file at `path` now.
    ///
    /// # Errors
    /// When it cannot be examined.
    pub fn of(path: &Path) -> io::Result<Self> {
        let meta = std::fs::metadata(path)?;
        let mtime_ns = meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec());
        Ok(Self { path: path.into(), size: meta.len(), mtime_ns })
    }
}

/// The oldest Firecracker whose API we speak: its devices come to the guest by ACPI.
pub const OLDEST_FIRECRACKER: Version = Version { major: 1, minor: 12, patch: 0 };
/// The newest Firecracker we know, by its first two numbers.
pub const NEWEST_FIRECRACKER: Version = Version { major: 1, minor: 16, patch: u32::MAX };
/// The oldest QEMU with `-netdev stream`.
pub const OLDEST_QEMU: Version = Version { major: 7, minor: 2, patch: 0 };
/// A program that has not told its version by then never will.
const PATIENCE: Duration = Duration::from_secs(10);

/// A VMM program that cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message says what it is")]
pub enum BinaryError {
    /// Nowhere in the search path.
    #[error("{kind} is not installed: {}", install_hint(*kind))]
    Missing { kind: VmmKind },
    /// The configured path is wrong.
    #[error("{} is configured as {kind} but is no program that can be run", path.display())]
    NotAProgram { kind: VmmKind, path: PathBuf },
    /// It could not be run.
    #[error("cannot ask {} for its version", path.display())]
    Run { path: PathBuf, source: io::Error },
    /// It hangs.
    #[error("{} did not tell its version within {} seconds", path.display(), PATIENCE.as_secs())]
    Silent { path: PathBuf },
    /// It is something else.
    #[error("{} does not answer --version as {kind} does, but: {answer:?}", path.display())]
    Stranger { kind: VmmKind, path: PathBuf, answer: String },
    /// It is too old.
    #[error("{} is {kind} {version}, and {oldest} is the oldest that banger can drive: {}", path.display(), install_hint(*kind))]
    TooOld { kind: VmmKind, path: PathBuf, version: Version, oldest: Version },
}

fn install_hint(kind: VmmKind) -> &'static str {
    match kind {
        VmmKind::Qemu => "install the package qemu-system-x86",
        VmmKind::Firecracker => "put the firecracker program of a 1.12 to 1.16 release into a folder of PATH",
    }
}

fn program_name(kind: VmmKind) -> &'static str {
    match kind {
        VmmKind::Qemu => "qemu-system-x86_64",
        VmmKind::Firecracker => "firecracker",
    }
}

/// Finds the program of that kind: the configured file and no other if there is one, else the first in `search_path`
/// (written like `PATH`). Its version is asked for once as long as the file stays the same.
///
/// # Errors
/// When there is none, or none that we can drive. The message says what to install.
pub async fn discover(kind: VmmKind, configured: Option<&Path>, search_path: &OsStr) -> Result<Binary, BinaryError> {
    static KNOWN: Mutex<Option<HashMap<FileIdentity, Version>>> = Mutex::new(None);
    let path = locate(kind, configured, search_path)?;
    let run = |source| BinaryError::Run { path: path.clone(), source };
    let identity = FileIdentity::of(&path).map_err(run)?;
    let known = KNOWN.lock().ok().and_then(|known| known.as_ref()?.get(&identity).copied());
    let version = match known {
        Some(version) => version,
        None => {
            let version = ask(kind, &path).await?;
            check(kind, &path, version)?;
            if let Ok(mut known) = KNOWN.lock() {
                known.get_or_insert_default().insert(identity, version);
            }
            version
        }
    };
    Ok(Binary { kind, path, version })
}

fn locate(kind: VmmKind, configured: Option<&Path>, search_path: &OsStr) -> Result<PathBuf, BinaryError> {
    match configured {
        Some(path) if is_runnable(path) => Ok(path.into()),
        Some(path) => Err(BinaryError::NotAProgram { kind, path: path.into() }),
        None => search(program_name(kind), search_path).ok_or(BinaryError::Missing { kind }),
    }
}

fn search(name: &str, search_path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(search_path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|path| is_runnable(path))
}

fn is_runnable(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// A program that a VM needs beside its VMM and that is not here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} is not installed: install the package {package}")]
pub struct ToolMissing {
    /// What it is called.
    pub name: &'static str,
    /// The Debian package that has it.
    pub package: &'static str,
}

/// The file of a program that a VM needs beside its VMM, such as `passt`.
///
/// # Errors
/// When it is nowhere in `search_path` (written like `PATH`). The message says what to install.
pub fn find_tool(name: &'static str, package: &'static str, search_path: &OsStr) -> Result<PathBuf, ToolMissing> {
    search(name, search_path).ok_or(ToolMissing { name, package })
}

async fn ask(kind: VmmKind, path: &Path) -> Result<Version, BinaryError> {
    let mut command = tokio::process::Command::new(path);
    command.arg("--version").stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output())
        .await
        .map_err(|_| BinaryError::Silent { path: path.into() })?
        .map_err(|source| BinaryError::Run { path: path.into(), source })?;
    let answer = String::from_utf8_lossy(&output.stdout);
    parse_answer(kind, &answer).ok_or_else(|| BinaryError::Stranger {
        kind,
        path: path.into(),
        answer: answer.lines().next().unwrap_or_default().chars().take(80).collect(),
    })
}

/// Refuses what is too old.
fn check(kind: VmmKind, path: &Path, version: Version) -> Result<(), BinaryError> {
    let oldest = match kind {
        VmmKind::Firecracker => OLDEST_FIRECRACKER,
        VmmKind::Qemu => OLDEST_QEMU,
    };
    if version < oldest {
        return Err(BinaryError::TooOld { kind, path: path.into(), version, oldest });
    }
    Ok(())
}

/// `QEMU emulator version 7.2.22 (Debian …)`, `Firecracker v1.12.1`.
fn parse_answer(kind: VmmKind, answer: &str) -> Option<Version> {
    let prefix = match kind {
        VmmKind::Qemu => "QEMU emulator version ",
        VmmKind::Firecracker => "Firecracker v",
    };
    let rest = answer.lines().find_map(|line| line.strip_prefix(prefix))?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    rest.get(..end)?.parse().ok()
}

/// A text that is not three numbers with dots between them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a version")]
pub struct VersionError(String);

impl std::str::FromStr for Version {
    type Err = VersionError;
    fn from_str(text: &str) -> Result<Self, VersionError> {
        let bad = || VersionError(text.into());
        let mut numbers = text.split('.').map(|n| n.parse::<u32>().map_err(|_| bad()));
        let mut next = || numbers.next().unwrap_or_else(|| Err(bad()));
        let version = Self { major: next()?, minor: next()?, patch: next()? };
        if numbers.next().is_some() { Err(bad()) } else { Ok(version) }
    }
}

impl TryFrom<String> for Version {
    type Error = VersionError;
    fn try_from(text: String) -> Result<Self, VersionError> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn answers_of_real_programs() {
        let qemu =
            "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright (c) 2003-2022 Fabrice Bellard\n";
        assert_eq!(parse_answer(VmmKind::Qemu, qemu), Some(version("7.2.22")));
        assert_eq!(
            parse_answer(VmmKind::Firecracker, "Firecracker v1.12.1\n\n2026 exiting\n"),
            Some(version("1.12.1"))
        );
        assert_eq!(parse_answer(VmmKind::Firecracker, "Firecracker v1.17.0-dev\n"), Some(version("1.17.0")));
        assert_eq!(parse_answer(VmmKind::Firecracker, qemu), None);
        assert_eq!(parse_answer(VmmKind::Qemu, ""), None);
    }

    #[test]
    fn old_versions_are_refused() {
        let judge = |kind, text| check(kind, Path::new("/x"), version(text)).is_ok();
        assert!(!judge(VmmKind::Firecracker, "1.11.9"));
        assert!(judge(VmmKind::Firecracker, "1.12.0"));
        assert!(judge(VmmKind::Firecracker, "2.0.0"));
        assert!(!judge(VmmKind::Qemu, "6.2.0"));
        assert!(judge(VmmKind::Qemu, "10.0.2"));
    }

    #[tokio::test]
    async fn programs_of_any_version_as_they_say() {
        let folder = tempfile::tempdir().unwrap();
        let ask = async |version: &str| {
            let path = folder.path().join(version);
            // Written by another process: one that is forked here meanwhile would hold the file open, and then it cannot be run.
            let script = format!("printf '#!/bin/sh\\necho Firecracker v{version}\\n' >\"$0\" && chmod 755 \"$0\"");
            let written = std::process::Command::new("sh").args(["-c", &script]).arg(&path).status().unwrap();
            assert!(written.success());
            discover(VmmKind::Firecracker, Some(&path), OsStr::new("")).await
        };
        for known in ["1.12.0", "1.12.1", "1.13.2", "1.14.4", "1.15.1", "1.16.1"] {
            assert_eq!(ask(known).await.unwrap().caution(), None, "{known}");
        }
        for newer in ["1.17.0-dev", "1.17.3", "2.0.0"] {
            let caution = ask(newer).await.unwrap().caution().unwrap();
            assert!(caution.contains("newer") && caution.contains("1.12 to 1.16"), "{caution}");
        }
        for older in ["0.25.2", "1.11.0", "1.9.1"] {
            let refusal = ask(older).await.unwrap_err().to_string();
            assert!(refusal.contains(older) && refusal.contains("1.12 to 1.16"), "{refusal}");
        }
    }

    #[tokio::test]
    async fn a_missing_program_names_the_package() {
        let error = discover(VmmKind::Qemu, None, OsStr::new("/nonexistent:relative")).await.unwrap_err();
        assert!(error.to_string().contains("qemu-system-x86"), "{error}");
        let error = discover(VmmKind::Qemu, Some(Path::new("/etc/passwd")), OsStr::new("")).await.unwrap_err();
        assert!(matches!(error, BinaryError::NotAProgram { .. }), "{error}");
    }

    #[tokio::test]
    async fn another_program_is_a_stranger() {
        let error = discover(VmmKind::Firecracker, Some(Path::new("/bin/true")), OsStr::new("")).await.unwrap_err();
        assert!(matches!(error, BinaryError::Stranger { .. }), "{error}");
    }
}
