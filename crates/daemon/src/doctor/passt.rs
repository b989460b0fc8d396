//! The user-mode network: whether it can be had, and whether its `passt` carries every connection whole.
//!
//! `passt` has no version numbers: a release is named after its day, as `2024_05_23.765eb0b`, and so are the packages made
//! of it, as `0.0~git20230309.7c7625d-1`. Debian's program does not know its own, but the package does.

use super::{pass, warn};
use crate::{App, host::NoUserNet, search_path::search_path};
use banger_model::api::doctor::Check;
use banger_vmm::find_tool;
use std::{ffi::OsStr, path::Path, process::Stdio, time::Duration};

/// What a program that only has to tell its version may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Releases from this day on are not known to do harm. That of 2023-03-09, which is in Debian 12, was seen to.
const SOUND: Day = Day(20240101);
/// Where packages put it.
const PACKAGED: &str = "/usr/bin/passt";

/// A day as `YYYYMMDD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Day(u32);

impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{:02}-{:02}", self.0 / 10_000, self.0 / 100 % 100, self.0 % 100)
    }
}

/// The check.
pub(super) async fn network(app: &App) -> Check {
    let name = "user-mode network";
    match app.host.user_net() {
        Ok(()) => match release(app).await {
            Some(day) => judge(name, day),
            None => pass(name, "passt is here; it does not tell its version"),
        },
        Err(error @ NoUserNet::Passt) => {
            warn(name, error.to_string(), "apt-get install passt; without it VMs have no network")
        }
        Err(error @ NoUserNet::Configured { .. }) => {
            warn(name, error.to_string(), "set `passt` in `[programs]` of the configuration right, or leave it out")
        }
        Err(error @ NoUserNet::Filter { .. }) => warn(name, error.to_string(), "build it with `make build`"),
    }
}

fn judge(name: &str, day: Day) -> Check {
    if day >= SOUND {
        return pass(name, format!("passt of {day} is here"));
    }
    warn(
        name,
        format!(
            "passt of {day} is here: releases before {} can damage or stall a large download once the guest has closed its \
             own side of the connection",
            SOUND.0 / 10_000
        ),
        "install a later passt, from a later release of your system or built from its source, and name it as `passt` in \
         `[programs]` of the configuration if it is not in the PATH; without it, check what VMs download",
    )
}

/// Of which day the program is that networks are made with.
async fn release(app: &App) -> Option<Day> {
    let configured = app.config.load().ok().and_then(|config| config.programs.passt);
    let path = configured.or_else(|| find_tool("passt", "passt", &search_path()).ok())?;
    match day_in(&said(path.as_os_str(), &["--version"]).await?) {
        None if path == Path::new(PACKAGED) => {
            day_in(&said("dpkg-query".as_ref(), &["-W", "-f", "${Version}", "passt"]).await?)
        }
        told => told,
    }
}

/// What a program prints.
async fn said(program: &OsStr, args: &[&str]) -> Option<String> {
    let mut command = tokio::process::Command::new(program);
    command.args(args).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.ok()?.ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The first day that a version names.
fn day_in(version: &str) -> Option<Day> {
    let plain = version.replace('_', "");
    let day = |digits: &str| {
        let day = digits.parse().ok()?;
        (digits.len() == 8 && (20200000..21000000).contains(&day)).then_some(Day(day))
    };
    plain.split(|c: char| !c.is_ascii_digit()).find_map(day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_model::api::doctor::Outcome;

    #[test]
    fn releases_and_packages_name_their_day() {
        for (version, day) in [
            ("passt 2024_05_23.765eb0b\nCopyright Red Hat\n", Some(20240523)),
            ("0.0~git20230309.7c7625d-1", Some(20230309)),
            ("passt 0^20250503.g587980c-2.fc42.x86_64", Some(20250503)),
            ("passt unknown version\nCopyright Red Hat\n", None),
            ("1.2.3 12345678", None),
        ] {
            assert_eq!(day_in(version), day.map(Day), "{version}");
        }
    }

    #[test]
    fn one_that_harms_connections_is_warned_of() {
        let old = judge("network", Day(20230309));
        assert_eq!(old.outcome, Outcome::Warn);
        assert!(old.detail.starts_with("passt of 2023-03-09") && old.fix.is_some(), "{old:?}");
        assert_eq!(judge("network", Day(20240523)).outcome, Outcome::Pass);
    }
}
