//! Chores of the repository that want more than a shell: `cargo run -p xtask -- walls`.
//!
//! Must not: be needed by a build or at run time.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a chore talks to the terminal")]

mod files;
mod graph;
mod walls;

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let faults = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["walls"] => graph::Graph::load().and_then(|graph| Ok((walls::check(&graph), files::check()?))),
        _ => {
            eprintln!("usage: cargo run -p xtask -- walls");
            return ExitCode::from(2);
        }
    };
    match faults {
        Ok((edges, files)) if edges.is_empty() && files.faults.is_empty() => {
            println!("walls stand: {}", files.summary);
            ExitCode::SUCCESS
        }
        Ok((edges, files)) => {
            for fault in edges.iter().chain(&files.faults) {
                eprintln!("fault: {fault}");
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
