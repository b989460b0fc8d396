//! The walls between crates: which may name which, and what may not get into them by any way.

use crate::graph::Graph;

/// One crate's walls.
struct Wall {
    package: &'static str,
    /// The crates of this workspace that it may name.
    may_name: &'static [&'static str],
    /// What must not be reachable from it.
    never: &'static [&'static str],
}

/// What brings a runtime, a server or a database.
const STATEFUL: [&str; 5] = ["tokio", "hyper", "axum", "rusqlite", "ureq"];

const WALLS: [Wall; 10] = [
    Wall {
        package: "banger-model",
        may_name: &[],
        never: &["tokio", "hyper", "axum", "rusqlite", "ureq", "rustix", "libc"],
    },
    Wall { package: "banger-damage", may_name: &[], never: &STATEFUL },
    Wall { package: "banger-image", may_name: &["banger-model"], never: &["tokio", "hyper", "axum", "rusqlite"] },
    Wall { package: "banger-vmm", may_name: &["banger-model"], never: &["axum", "rusqlite", "ureq", "mkext4", "tar"] },
    Wall { package: "banger-usernet", may_name: &["banger-model"], never: &STATEFUL },
    Wall { package: "banger-agent", may_name: &["banger-model"], never: &STATEFUL },
    Wall { package: "banger-daemon", may_name: &["banger-model", "banger-image", "banger-vmm"], never: &["indicatif"] },
    Wall { package: "banger-cli", may_name: &["banger-model"], never: &["axum", "rusqlite", "ureq", "mkext4"] },
    Wall { package: "banger-e2e", may_name: &["banger-model"], never: &["axum", "rusqlite"] },
    Wall { package: "xtask", may_name: &[], never: &STATEFUL },
];

/// Every breach, in words.
pub(crate) fn check(graph: &Graph) -> Vec<String> {
    let mut faults = Vec::new();
    for member in &graph.members {
        let Some(wall) = WALLS.iter().find(|wall| wall.package == member) else {
            faults.push(format!("{member} has no walls: give it some in xtask/src/walls.rs"));
            continue;
        };
        let named = graph.direct(member).filter(|name| graph.members.contains(*name));
        for name in named.filter(|name| !wall.may_name.contains(name)) {
            faults.push(format!("{member} may not name {name}"));
        }
        for path in wall.never.iter().filter_map(|other| graph.path(member, other)) {
            faults.push(format!("{member} must stay clear of what it gets by {}", path.join(" -> ")));
        }
    }
    faults
}
