//! What a scenario has: the `banger` program, in the home of the user that all scenarios of a round are, and nothing of the
//! daemon's own files.

use crate::{Call, Sandbox, Vm, wait_for};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    mem::ManuallyDrop,
    path::{Path, PathBuf},
};

/// What every scenario of a round is told by whoever runs them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surroundings {
    /// The home.
    pub root: PathBuf,
    /// Where its sockets are.
    pub runtime: PathBuf,
    /// Where the programs under test lie.
    pub programs: PathBuf,
    /// A layout of the images `dev` and `plain`.
    pub layout: PathBuf,
    /// The tar of a root file system that is no image yet. It says in `/etc/motd` what it is.
    pub tar: PathBuf,
    /// A registry which has the same images as `team/dev:1` and `team/plain:1`, if there is one.
    pub registry: Option<RegistryFacts>,
}

/// A registry and what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryFacts {
    /// `127.0.0.1:PORT`.
    pub host: String,
    /// A line for each request.
    pub log: PathBuf,
}

/// Somebody who uses banger.
#[derive(Debug)]
pub struct User {
    /// Others use it, too: it is not ours to end.
    sandbox: ManuallyDrop<Sandbox>,
    scenario: String,
    /// What there is to use.
    pub surroundings: Surroundings,
}

impl User {
    /// The one who does this scenario, in the surroundings that this file tells.
    ///
    /// # Panics
    /// When the file makes no sense.
    pub fn enter(scenario: &str, surroundings: &Path) -> Self {
        let surroundings: Surroundings = serde_json::from_slice(&fs::read(surroundings).unwrap()).unwrap();
        let Surroundings { root, runtime, programs, .. } = surroundings.clone();
        let sandbox = ManuallyDrop::new(Sandbox::at(root, runtime, programs));
        Self { sandbox, scenario: scenario.to_owned(), surroundings }
    }

    /// `banger` with these words, split at spaces.
    pub fn banger(&self, words: &str) -> Call {
        self.sandbox.banger(words).folder(&self.folder())
    }

    /// A program of the host's, in the user's environment.
    pub fn tool(&self, program: &str) -> Call {
        self.sandbox.tool(program)
    }

    /// A folder of this scenario's own.
    pub fn folder(&self) -> PathBuf {
        let path = self.sandbox.scratch().join(&self.scenario);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// The user's configuration file, which is everybody's.
    pub fn config(&self) -> PathBuf {
        self.sandbox.config()
    }

    /// A name that no other scenario uses for its VMs.
    pub fn name(&self, what: &str) -> String {
        own_name(&self.scenario, what)
    }

    /// `banger vm run --detach`: a VM that runs.
    pub fn vm(&self, what: &str) -> Vm<'_> {
        let name = self.name(what);
        self.banger("vm run --detach --quiet --name").arg(&name).succeeds();
        self.sandbox.existing(&name)
    }

    /// A VM that is there, or may come.
    pub fn existing(&self, what: &str) -> Vm<'_> {
        self.sandbox.existing(&self.name(what))
    }

    /// Whether `vm list` has it.
    pub fn has(&self, what: &str) -> bool {
        self.sandbox.vm_names().contains(&self.name(what))
    }

    /// Waits until `vm list` does not have it.
    pub fn loses(&self, what: &str) {
        wait_for(&format!("{} to be gone", self.name(what)), || (!self.has(what)).then_some(()));
    }

    /// Ends the daemon as a crash does.
    pub fn kill_daemon(&self) {
        self.sandbox.kill_daemon(self.sandbox.daemon_pid());
    }

    /// How often the registry was asked for each blob of that repository, since it was started.
    pub fn downloads(&self, repository: &str) -> BTreeMap<String, usize> {
        let log = self.surroundings.registry.as_ref().map(|registry| fs::read_to_string(&registry.log).unwrap());
        let mut asked = BTreeMap::new();
        for blob in log.iter().flat_map(|log| log.lines()).filter_map(|line| blob(line, repository)) {
            *asked.entry(blob.to_owned()).or_default() += 1;
        }
        asked
    }
}

/// What a scenario calls a VM of its.
pub fn own_name(scenario: &str, what: &str) -> String {
    format!("{scenario}-{what}")
}

/// The blob that a request was for, of a line of the registry's log.
fn blob<'a>(line: &'a str, repository: &str) -> Option<&'a str> {
    let (_, path) = line.split_once("\"GET /v2/")?;
    path.strip_prefix(repository)?.strip_prefix("/blobs/")?.split(' ').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn downloads_are_told_from_other_requests() {
        let line =
            |request| format!("127.0.0.1 - - [25/Nov/2026:10:00:00 +0000] \"{request} HTTP/1.1\" 200 3 \"\" \"x\"");
        assert_eq!(blob(&line("GET /v2/team/dev/blobs/sha256:ab"), "team/dev"), Some("sha256:ab"));
        for other in
            ["HEAD /v2/team/dev/blobs/sha256:ab", "GET /v2/team/dev/manifests/1", "GET /v2/team/dev2/blobs/sha256:ab"]
        {
            assert_eq!(blob(&line(other), "team/dev"), None, "{other}");
        }
    }
}
