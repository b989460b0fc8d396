//! How fast and how small: every number beside what it is compared with, measured in the same run, on the same machine.
//!
//! `make bench` prints the whole table; `make bench ONLY=pull` the rows of one topic (`boot`, `pull`, `exec`, `life`,
//! `daemon`, `lab`, `build`). Each number is the median of several runs, ours and theirs taken in turns, with the processor time beside the
//! wall time. Nothing here fails: a row says by itself whether it is within its limit.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench that cannot go on stops where it is, with the reason"
)]

mod boot;
mod build;
mod by_hand;
mod daemon;
mod exec;
mod images;
mod inflate;
mod lab;
mod life;
mod measure;
mod pull;
mod table;

use table::Table;

type Topic = (&'static str, fn(&mut Table));

const TOPICS: [Topic; 7] = [
    ("boot", boot::run),
    ("pull", pull::run),
    ("exec", exec::run),
    ("life", life::run),
    ("daemon", daemon::run),
    ("lab", lab::run),
    ("build", build::run),
];

fn main() {
    let only: Vec<String> = std::env::args().skip(1).collect();
    let mut table = Table::default();
    for (name, run) in TOPICS {
        if only.is_empty() || only.iter().any(|word| word == name) {
            eprintln!("bench: {name}");
            run(&mut table);
        }
    }
    println!("{table}");
}
