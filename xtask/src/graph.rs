//! Who depends on whom, as `cargo metadata` tells it.

use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    process::Command,
};

/// The workspace's packages with what they need to build and run; what only tests need is left out.
#[derive(Debug)]
pub(crate) struct Graph {
    /// The packages of this workspace.
    pub(crate) members: BTreeSet<String>,
    direct: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    kind: Option<String>,
}

impl Graph {
    /// Asks cargo.
    pub(crate) fn load() -> Result<Self, Box<dyn Error>> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let arguments = ["metadata", "--format-version=1", "--filter-platform=x86_64-unknown-linux-gnu"];
        let output = Command::new(cargo).args(arguments).output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
        Self::parse(&output.stdout)
    }

    fn parse(json: &[u8]) -> Result<Self, Box<dyn Error>> {
        let metadata: Metadata = serde_json::from_slice(json)?;
        let names: BTreeMap<&str, &str> = metadata.packages.iter().map(|p| (&*p.id, &*p.name)).collect();
        let name = |id: &str| names.get(id).map_or_else(|| id.to_owned(), |name| (*name).to_owned());
        let direct = metadata.resolve.nodes.iter().map(|node| {
            let needed = node.deps.iter().filter(|d| d.dep_kinds.iter().any(|k| k.kind.as_deref() != Some("dev")));
            (name(&node.id), needed.map(|d| name(&d.pkg)).collect())
        });
        Ok(Self { direct: direct.collect(), members: metadata.workspace_members.iter().map(|id| name(id)).collect() })
    }

    /// What `package` names in its manifest.
    pub(crate) fn direct(&self, package: &str) -> impl Iterator<Item = &str> {
        self.direct.get(package).into_iter().flatten().map(String::as_str)
    }

    /// The way from `package` to `other` along dependencies, both included; none when there is none.
    pub(crate) fn path(&self, package: &str, other: &str) -> Option<Vec<String>> {
        let mut seen = BTreeSet::new();
        let mut paths = vec![vec![package.to_owned()]];
        while let Some(path) = paths.pop() {
            let Some(last) = path.last() else { continue };
            if last == other {
                return Some(path);
            }
            for next in self.direct(last) {
                if seen.insert(next.to_owned()) {
                    paths.push(path.iter().cloned().chain([next.to_owned()]).collect());
                }
            }
        }
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_only_tests_need_does_not_count() {
        let json = r#"{
            "packages": [{"id": "a#1", "name": "a"}, {"id": "b#1", "name": "b"}, {"id": "c#1", "name": "c"}, {"id": "d#1", "name": "d"}],
            "workspace_members": ["a#1"],
            "resolve": {"nodes": [
                {"id": "a#1", "deps": [{"pkg": "b#1", "dep_kinds": [{"kind": null}]}, {"pkg": "d#1", "dep_kinds": [{"kind": "dev"}]}]},
                {"id": "b#1", "deps": [{"pkg": "c#1", "dep_kinds": [{"kind": "build"}, {"kind": "dev"}]}]},
                {"id": "c#1", "deps": []}, {"id": "d#1", "deps": []}
            ]}
        }"#;
        let graph = Graph::parse(json.as_bytes()).unwrap();
        assert_eq!(graph.path("a", "c").unwrap(), ["a", "b", "c"]);
        assert_eq!(graph.path("a", "d"), None);
        assert_eq!(graph.direct("a").collect::<Vec<_>>(), ["b"]);
    }
}
