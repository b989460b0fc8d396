//! Where this host gets its packages from.
//!
//! Owns: asking apt for its own sources, in apt's words, and choosing those of one release of Debian. Must not: change
//! anything, or know any server's name.

use super::RecipeError;
use crate::cancel::Cancel;
use crate::tool::{self, ToolError};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Reading the configuration takes a moment; without a writable cache, longer.
const LIMIT: Duration = Duration::from_secs(60);
/// Debian's keys, where its own package puts them: on this host and in the image.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// One line for each list of packages; unknown parts stay as they are.
const FORMAT: &str = "$(REPO_URI)\t$(RELEASE)\t$(CODENAME)\t$(ORIGIN)\t$(COMPONENT)\t$(ARCHITECTURE)";

/// What a build is given.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sources {
    /// As in `sources.list`.
    pub(super) lines: Vec<String>,
    /// The proxies that apt uses, as environment variables.
    pub(super) proxies: Vec<(&'static str, String)>,
    /// Whether they are those of another release, with its name replaced.
    pub(super) borrowed: bool,
}

/// The host's sources for `release`.
pub(super) fn sources(release: &'static str, cancel: &Cancel) -> Result<Sources, RecipeError> {
    let mut command = Command::new("apt-get");
    command.env("LC_ALL", "C").args(["indextargets", "--format", FORMAT, "Created-By: Packages"]);
    let targets = capture(command, cancel)?;
    let signed = Path::new(KEYRING).is_file();
    let (lines, borrowed) = choose(&targets, release, signed).ok_or(RecipeError::NoSource { release })?;
    let mut proxies = Vec::new();
    for (name, option) in [("http_proxy", "Acquire::http::Proxy"), ("https_proxy", "Acquire::https::Proxy")] {
        let mut command = Command::new("apt-config");
        command.args(["dump", "--no-empty", "--format", "%v%n", option]);
        if let Some(proxy) = capture(command, cancel)?.lines().next().filter(|proxy| !proxy.is_empty()) {
            proxies.push((name, proxy.to_owned()));
        }
    }
    Ok(Sources { lines, proxies, borrowed })
}

fn capture(command: Command, cancel: &Cancel) -> Result<String, RecipeError> {
    tool::capture(command, LIMIT, cancel).map_err(|error| match error {
        ToolError::Missing { .. } => RecipeError::NoApt,
        ToolError::Cancelled => RecipeError::Cancelled,
        error => RecipeError::Apt(error),
    })
}

/// The lines for `release` out of apt's list, and whether they had to be made from another release's.
fn choose(targets: &str, release: &str, signed: bool) -> Option<(Vec<String>, bool)> {
    let targets: Vec<Target<'_>> = targets.lines().filter_map(Target::parse).collect();
    let own = targets.iter().filter_map(|target| Some((target.uri()?, target.of(release)?)));
    let own: BTreeSet<(String, String)> = own.collect();
    let borrowed = own.is_empty();
    let chosen = if borrowed {
        targets.iter().filter_map(|target| Some((target.uri()?, target.instead(release)?))).collect()
    } else {
        own
    };
    let option = if signed { format!("[signed-by={KEYRING}] ") } else { String::new() };
    let lines = chosen.into_iter().map(|(uri, suite)| format!("deb {option}{uri} {suite} main"));
    let lines: Vec<String> = lines.collect();
    (!lines.is_empty()).then_some((lines, borrowed))
}

struct Target<'a> {
    uri: &'a str,
    codename: &'a str,
    origin: &'a str,
    component: &'a str,
}

impl<'a> Target<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let [uri, release, codename, origin, component, architecture] =
            <[&str; 6]>::try_from(line.split('\t').collect::<Vec<_>>()).ok()?;
        // What apt does not know, it leaves as it was asked for.
        let codename = if codename.starts_with("$(") { release } else { codename };
        (architecture == "amd64" || architecture == "all").then_some(Self { uri, codename, origin, component })
    }

    /// The suite, if it is one of `release` that is installed from.
    fn of(&self, release: &str) -> Option<String> {
        let part = self.codename.strip_prefix(release)?;
        let wanted = self.is_debian() && self.component == "main" && matches!(part, "" | "-updates" | "-security");
        wanted.then(|| self.codename.to_owned())
    }

    /// The suite of `release` that belongs where this one is.
    fn instead(&self, release: &str) -> Option<String> {
        let (_, part) = self.codename.split_at(self.codename.find('-').unwrap_or(self.codename.len()));
        let wanted = self.is_debian() && self.component == "main" && matches!(part, "" | "-updates" | "-security");
        wanted.then(|| format!("{release}{part}"))
    }

    fn is_debian(&self) -> bool {
        matches!(self.origin, "Debian" | "$(ORIGIN)")
    }

    /// An address that means the same inside the image.
    fn uri(&self) -> Option<String> {
        if self.uri.contains(char::is_whitespace) {
            return None;
        }
        if self.uri.starts_with("http://") || self.uri.starts_with("https://") {
            return Some(self.uri.to_owned());
        }
        // A list of mirrors in a file of the host's: its first one.
        let list = self.uri.strip_prefix("mirror+file:")?.trim_end_matches('/');
        first_mirror(&std::fs::read_to_string(list).ok()?)
    }
}

fn first_mirror(list: &str) -> Option<String> {
    let mut words = list.lines().filter_map(|line| line.split_whitespace().next());
    words.find(|word| word.starts_with("http://") || word.starts_with("https://")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOKWORM: &str = "\
http://m.example/debian/\tbookworm\tbookworm\tDebian\tmain\tamd64
http://m.example/debian/\tbookworm\tbookworm\tDebian\tnon-free\tamd64
http://m.example/debian/\tbookworm\tbookworm\tDebian\tmain\tarm64
http://m.example/debian/\tstable-updates\tbookworm-updates\tDebian\tmain\tamd64
http://m.example/debian/\tbookworm-backports\tbookworm-backports\tDebian Backports\tmain\tamd64
http://m.example/security/\tbookworm-security\tbookworm-security\tDebian\tmain\tamd64
https://other.example/\tbookworm\tbookworm\tOther\tmain\tamd64
cdrom:[x]/\tbookworm\tbookworm\tDebian\tmain\tamd64
";

    #[test]
    fn the_release_with_its_updates_is_chosen_and_nothing_else() {
        let (lines, borrowed) = choose(BOOKWORM, "bookworm", false).unwrap();
        assert_eq!(
            lines,
            [
                "deb http://m.example/debian/ bookworm main",
                "deb http://m.example/debian/ bookworm-updates main",
                "deb http://m.example/security/ bookworm-security main",
            ]
        );
        assert!(!borrowed);
        let (lines, _) = choose(BOOKWORM, "bookworm", true).unwrap();
        assert!(lines.iter().all(|line| line.starts_with(&format!("deb [signed-by={KEYRING}] http://"))));
    }

    #[test]
    fn another_release_lends_its_mirrors_and_another_distribution_does_not() {
        let trixie = BOOKWORM.replace("bookworm", "trixie");
        let (lines, borrowed) = choose(&trixie, "bookworm", false).unwrap();
        assert_eq!(lines.len(), 3);
        assert!(borrowed && lines[2] == "deb http://m.example/security/ bookworm-security main", "{lines:?}");
        assert_eq!(choose(&trixie.replace("\tDebian\t", "\tUbuntu\t"), "bookworm", false), None);
        assert_eq!(choose("", "bookworm", false), None);
        assert_eq!(choose("nonsense\n\t\t\n", "bookworm", false), None);
    }

    #[test]
    fn lists_that_were_not_read_yet_say_less_and_will_do() {
        let (lines, borrowed) =
            choose("http://m.example/\tbookworm\t$(CODENAME)\t$(ORIGIN)\tmain\tamd64", "bookworm", false).unwrap();
        assert_eq!((lines.len(), borrowed), (1, false));
    }

    #[test]
    fn a_list_of_mirrors_gives_its_first() {
        assert_eq!(
            first_mirror("# mirrors\n\nhttps://a.example/debian\tpriority:1\nhttps://b\n").unwrap(),
            "https://a.example/debian"
        );
        assert_eq!(first_mirror("# none\n"), None);
    }
}
