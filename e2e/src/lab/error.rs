//! Why the lab itself failed: not one of its cases.

use std::{error::Error, io, path::PathBuf, time::Duration};

/// No results, or not all of them. The message says which part failed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message says what it is")]
pub enum LabError {
    #[error("{program} is not installed: install the Debian package {package}")]
    Missing { program: &'static str, package: &'static str },
    #[error("{what} is not in {}: run `make test-lab`, which brings it", folder.display())]
    NoTool { what: &'static str, folder: PathBuf },
    #[error("apt on this host has no Debian sources of {release}, which the lab's host is made of")]
    NoSources { release: String },
    #[error("cannot {action}: {said}")]
    Step { action: String, said: String },
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("Firecracker runs no guest on this host, so leave out --on-this-host: {said}")]
    NoKvm { said: String },
    #[error("no case is called {0:?}: see --list")]
    NoCase(String),
    #[error("no case with {0:?} in its name runs in the lab: --list says why")]
    NotThere(String),
    #[error("{0}: no rule in the lab's table says whether it runs there")]
    NoRule(String),
    #[error("QEMU ended before the lab was done: {why}")]
    QemuEnded { why: String, console: String },
    #[error("the lab's host kernel panicked: {line}")]
    HostPanic { line: String, console: String },
    #[error("the lab hangs: waited {} s for {waited_for}", bound.as_secs())]
    Hang { waited_for: String, bound: Duration, console: String },
    #[error("the lab said something that makes no sense: {line:?}")]
    Nonsense { line: String },
}

impl LabError {
    /// For `map_err`: an operation on a path failed.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// Its message with those of the errors behind it.
    pub fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        text
    }

    /// Whether another boot may do better: the emulated host failed, not what it is made of.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::QemuEnded { .. } | Self::HostPanic { .. } | Self::Hang { .. })
    }

    /// The end of the host's console, where that tells more.
    pub fn console(&self) -> Option<&str> {
        match self {
            Self::QemuEnded { console, .. } | Self::HostPanic { console, .. } | Self::Hang { console, .. } => {
                Some(console)
            }
            _ => None,
        }
    }
}
