//! What can go wrong with a recipe.

use crate::tool::ToolError;
use std::io;

/// Why an image of the catalog cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// The tool is missing.
    #[error("mmdebstrap is not installed: install the package mmdebstrap")]
    NoMmdebstrap,
    /// This host is no Debian, nor like one.
    #[error(
        "apt is not installed: this image is built from Debian's packages; any other image can be pulled or imported"
    )]
    NoApt,
    /// An ordinary user lacks the tool for user namespaces.
    #[error("newuidmap is not installed, which an ordinary user needs for this: install the package uidmap")]
    NoUidmap,
    /// An ordinary user has no range of ids.
    #[error(
        "{file} has no range of ids for the user {user}, which is needed for this: `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}` as root adds one"
    )]
    NoSubordinateIds {
        /// The file that lists them.
        file: &'static str,
        /// The user.
        user: String,
    },
    /// No source of packages.
    #[error(
        "apt's sources on this host have no {release}, nor another release of Debian whose mirror could be asked: add one, or run `apt-get update` if that was never done"
    )]
    NoSource {
        /// What is wanted.
        release: &'static str,
    },
    /// Apt's configuration cannot be read.
    #[error("cannot read apt's sources")]
    Apt(#[source] ToolError),
    /// The build failed.
    #[error("the build failed; it used {sources}")]
    Build {
        /// The package sources.
        sources: String,
        /// What the tool said.
        source: ToolError,
    },
    /// The build's output cannot be read.
    #[error("cannot read what mmdebstrap makes")]
    Read(#[source] io::Error),
    /// Nobody waits for it any more.
    #[error("cancelled")]
    Cancelled,
}

impl RecipeError {
    /// Whether this host lacks something that can be installed or configured.
    pub(crate) fn is_of_host(&self) -> bool {
        !matches!(self, Self::Build { .. } | Self::Read(_) | Self::Cancelled)
    }
}
