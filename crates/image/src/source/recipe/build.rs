//! One run of mmdebstrap.

use super::{FINISH, LEFT_OUT, PACKAGES, RELEASE, Recipe, RecipeError};
use crate::cancel::Cancel;
use crate::progress::Progress;
use crate::source::SourceError;
use crate::tool::{Tool, ToolError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io::{self, Read};
use std::path::Path;
use std::process::{ChildStdout, Command};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

/// It takes a minute; over a slow line, much longer.
const LIMIT: Duration = Duration::from_secs(60 * 60);
/// How long it may take from the last byte to its end: it removes what it made.
const END_LIMIT: Duration = Duration::from_secs(120);
/// How often a waiter looks at its token.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Whether this host and user can build at all.
pub(super) fn check_host() -> Result<(), RecipeError> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let facts = Facts {
        uid: rustix::process::geteuid().as_raw(),
        passwd: read("/etc/passwd"),
        ranges: RANGES.map(read),
        has: |program: &str| std::env::split_paths(&path).any(|folder| is_program(&folder.join(program))),
    };
    facts.check()
}

fn is_program(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Where ranges of ids are given to users.
const RANGES: [&str; 2] = ["/etc/subuid", "/etc/subgid"];

/// What a build depends on.
struct Facts<F> {
    uid: u32,
    passwd: String,
    /// The content of [`RANGES`].
    ranges: [String; 2],
    /// Whether a program is installed.
    has: F,
}

impl<F: Fn(&str) -> bool> Facts<F> {
    fn check(&self) -> Result<(), RecipeError> {
        if !(self.has)("mmdebstrap") {
            return Err(RecipeError::NoMmdebstrap);
        }
        if self.uid == 0 {
            return Ok(());
        }
        if !(self.has)("newuidmap") {
            return Err(RecipeError::NoUidmap);
        }
        let uid = self.uid.to_string();
        let user = user_name(&self.passwd, &uid).unwrap_or(&uid);
        for (file, listed) in RANGES.into_iter().zip(&self.ranges) {
            let mut names = listed.lines().filter_map(|line| line.split(':').next());
            if !names.any(|name| name == user || name == uid) {
                return Err(RecipeError::NoSubordinateIds { file, user: user.to_owned() });
            }
        }
        Ok(())
    }
}

/// The name of the user with that id, out of `/etc/passwd`.
fn user_name<'a>(passwd: &'a str, uid: &str) -> Option<&'a str> {
    let mut users = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    users.find_map(|fields| (fields.get(2) == Some(&uid)).then(|| fields[0]))
}

fn command(recipe: &Recipe) -> Command {
    let mut command = Command::new("mmdebstrap");
    command.args(["--variant=minbase", "--format=tar", "--architectures=amd64"]);
    // Left to itself it would fall back to ways that give a file system of another owner.
    command.arg(if is_root() { "--mode=root" } else { "--mode=unshare" });
    command.arg(format!("--include={}", PACKAGES.join(",")));
    command.args(LEFT_OUT.map(|option| format!("--dpkgopt={option}")));
    command.args(FINISH.map(|hook| format!("--customize-hook={hook}")));
    command.args([RELEASE, "-"]).args(&recipe.sources.lines);
    command.env("LC_ALL", "C.UTF-8").envs(recipe.sources.proxies.iter().map(|(name, value)| (name, value)));
    command
}

/// A build and its tar.
struct Build<'a> {
    recipe: &'a Recipe,
    progress: &'a dyn Progress,
    cancel: Cancel,
    tool: Tool,
    stdout: ChildStdout,
    lines: Receiver<String>,
    deadline: Instant,
}

/// Starts the build; the reader is its tar, and its end is seen only when the tool ended well.
pub(super) fn start<'a>(
    recipe: &'a Recipe,
    progress: &'a dyn Progress,
    cancel: &Cancel,
) -> Result<impl Read + Send + 'a, RecipeError> {
    let (tell, lines) = mpsc::channel();
    let on_line = move |line: &str| {
        let _nobody_listens = tell.send(line.to_owned());
    };
    let started = Tool::start(command(recipe), on_line);
    let (tool, stdout) = started.map_err(|error| failed(recipe, error))?;
    let deadline = Instant::now() + LIMIT;
    Ok(Build { recipe, progress, cancel: cancel.clone(), tool, stdout, lines, deadline })
}

fn failed(recipe: &Recipe, error: ToolError) -> RecipeError {
    match error {
        ToolError::Missing { .. } => RecipeError::NoMmdebstrap,
        ToolError::Cancelled => RecipeError::Cancelled,
        source => RecipeError::Build { sources: recipe.sources.lines.join(", "), source },
    }
}

impl Build<'_> {
    fn tell(&self) {
        for line in self.lines.try_iter() {
            self.progress.line(line.strip_prefix("I: ").unwrap_or(&line));
        }
    }

    fn fail(&self, source: RecipeError) -> io::Error {
        super::failed(&self.recipe.name, source).into()
    }
}

impl Read for Build<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.tell();
            self.cancel.check().map_err(SourceError::from)?;
            match poll(&mut [PollFd::new(&self.stdout, PollFlags::IN)], Some(&TICK)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => break,
                Err(error) => return Err(self.fail(RecipeError::Read(error.into()))),
            }
            if Instant::now() >= self.deadline {
                let ended = self.tool.wait(Duration::ZERO, &self.cancel, || {});
                return Err(self.fail(failed(self.recipe, ended.err().unwrap_or(ToolError::Cancelled))));
            }
        }
        let count = self.stdout.read(buffer).map_err(|error| self.fail(RecipeError::Read(error)))?;
        if count == 0 {
            let ended = self.tool.wait(END_LIMIT, &self.cancel, || {});
            self.tell();
            ended.map_err(|error| self.fail(failed(self.recipe, error)))?;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(uid: u32, tools: &[&str], ranges: [&str; 2]) -> String {
        let passwd = "root:x:0:0::/root:/bin/sh\nbad\nann:x:1000:1000::/home/ann:/bin/sh\n".to_owned();
        let facts = Facts { uid, passwd, ranges: ranges.map(str::to_owned), has: |tool: &str| tools.contains(&tool) };
        facts.check().err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn what_a_host_lacks_is_named_with_its_remedy() {
        let both = ["mmdebstrap", "newuidmap"];
        let given = ["ben:1:1\nann:100000:65536\n", "1000:100000:65536\n"];
        assert!(check(0, &[], given).contains("install the package mmdebstrap"));
        assert_eq!(check(0, &both[..1], ["", ""]), "");
        assert!(check(1000, &both[..1], given).contains("install the package uidmap"));
        assert_eq!(check(1000, &both, given), "");
        let error = check(1000, &both, [given[0], "ben:1:1\n"]);
        assert!(error.starts_with("/etc/subgid has no range") && error.contains("ann` as root"), "{error}");
        // A user that only a directory server knows.
        assert!(check(1001, &both, given).contains("user 1001"));
    }
}
