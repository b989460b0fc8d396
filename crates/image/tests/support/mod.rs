//! Real parts for the tests: images made by umoci, a registry on loopback, and servers that misbehave.
#![allow(dead_code, reason = "each test file uses its own part of it")]

pub(crate) mod images;
pub(crate) mod registry;
pub(crate) mod server;

use std::process::{Command, Stdio};

/// Whether all of `tools` are here; says loudly which is not, for `test` to be skipped.
pub(crate) fn have(test: &str, tools: &[&str]) -> bool {
    let missing = tools.iter().find(|tool| {
        let found = Command::new("sh").args(["-c", &format!("command -v {tool}")]).stdout(Stdio::null()).status();
        !found.is_ok_and(|status| status.success())
    });
    if let Some(tool) = missing {
        eprintln!("SKIPPED: {test}: {tool} is not installed");
    }
    missing.is_none()
}

/// Runs a tool to its end; its failure is the test's.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// An error and its causes, as a person would see them.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}
