//! Where banger keeps things, as a pure function of the environment: client and daemon must agree without talking.

use std::{ffi::OsString, os::unix::ffi::OsStrExt, path::PathBuf};

/// The longest path of a Unix socket that Linux takes, in bytes, without the closing zero (`sockaddr_un`, unix(7)).
pub const MAX_SOCKET_PATH: usize = 107;
/// Room below the runtime folder: `/vm/` and an id of 12 letters, and the longest name of a socket in there.
const LONGEST_BELOW_RUNTIME: usize = 4 + 12 + 24;

/// All folders of one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Images and kernels: can be had again.
    pub data: PathBuf,
    /// VMs and the database: cannot.
    pub state: PathBuf,
    /// Sockets. Always short enough for [`MAX_SOCKET_PATH`].
    pub runtime: PathBuf,
    /// The configuration file.
    pub config: PathBuf,
}

/// What the paths depend on.
#[derive(Debug, Clone, Default)]
pub struct PathFacts {
    /// The user.
    pub uid: u32,
    /// Whether `/run/user/UID` is a folder.
    pub run_user: bool,
}

/// The environment names no home.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("HOME is not set to an absolute path")]
pub struct NoHome;

impl Paths {
    /// Follows the XDG base directory specification; relative values are ignored, as it asks.
    ///
    /// # Errors
    /// When a folder is neither given nor derivable from `HOME`.
    pub fn from_env(var: impl Fn(&str) -> Option<OsString>, facts: &PathFacts) -> Result<Self, NoHome> {
        let absolute = |name: &str| var(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let folder = |name: &str, below_home: &str| {
            absolute(name).or_else(|| absolute("HOME").map(|home| home.join(below_home))).ok_or(NoHome)
        };
        let state = folder("XDG_STATE_HOME", ".local/state")?.join("banger");
        let runtime = absolute("XDG_RUNTIME_DIR")
            .or_else(|| facts.run_user.then(|| PathBuf::from(format!("/run/user/{}", facts.uid))))
            .map(|base| base.join("banger"))
            .filter(|dir| dir.as_os_str().len() + LONGEST_BELOW_RUNTIME <= MAX_SOCKET_PATH)
            // Nothing short is given: a name that two users, or two homes of one user, cannot share.
            .unwrap_or_else(|| {
                let home = fnv1a(state.as_os_str().as_bytes());
                PathBuf::from(format!("/tmp/banger-{}-{home:08x}", facts.uid))
            });
        Ok(Self {
            data: folder("XDG_DATA_HOME", ".local/share")?.join("banger"),
            config: folder("XDG_CONFIG_HOME", ".config")?.join("banger/config.toml"),
            state,
            runtime,
        })
    }

    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.runtime.join("api.sock")
    }

    /// The daemon's own log: JSON, one record a line.
    pub fn log(&self) -> PathBuf {
        self.state.join("bangerd.log")
    }

    /// What [`Self::log`] becomes when it is full.
    pub fn older_log(&self) -> PathBuf {
        self.state.join("bangerd.log.1")
    }
}

/// FNV-1a, 32 bits: tells a handful of folders apart; nothing depends on it being hard to invert.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn paths(vars: &[(&str, &str)], run_user: bool) -> Result<Paths, NoHome> {
        let vars: HashMap<_, _> = vars.iter().copied().collect();
        Paths::from_env(|name| vars.get(name).map(OsString::from), &PathFacts { uid: 1000, run_user })
    }

    #[test]
    fn xdg_variables_beat_home_and_relative_ones_are_ignored() {
        let got = paths(
            &[("HOME", "/h"), ("XDG_DATA_HOME", "/d"), ("XDG_STATE_HOME", "rel"), ("XDG_RUNTIME_DIR", "/run/u")],
            false,
        )
        .unwrap();
        assert_eq!(got.data, PathBuf::from("/d/banger"));
        assert_eq!(got.state, PathBuf::from("/h/.local/state/banger"));
        assert_eq!(got.socket(), PathBuf::from("/run/u/banger/api.sock"));
        assert_eq!(got.config, PathBuf::from("/h/.config/banger/config.toml"));
        assert_eq!(paths(&[], true), Err(NoHome));
    }

    #[test]
    fn sockets_fit_whatever_the_home_or_runtime_folder() {
        let long = format!("/{}", "x".repeat(300));
        for (vars, run_user) in [
            (vec![("HOME", long.as_str())], false),
            (vec![("HOME", long.as_str())], true),
            (vec![("HOME", "/h"), ("XDG_RUNTIME_DIR", long.as_str())], false),
        ] {
            let runtime = paths(&vars, run_user).unwrap().runtime;
            assert!(runtime.as_os_str().len() + LONGEST_BELOW_RUNTIME <= MAX_SOCKET_PATH, "{runtime:?}");
        }
    }

    #[test]
    fn two_homes_of_one_user_do_not_share_a_socket() {
        let one = paths(&[("HOME", "/a")], false).unwrap();
        let other = paths(&[("HOME", "/b")], false).unwrap();
        assert_ne!(one.runtime, other.runtime);
    }
}
