//! What is told of a run: a line a case, the output of those that failed, and a last line as Rust's own test runner writes it.

use super::{LabError, link::Ended};
use crate::verdict::{Outcome, quoted, skips};
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// A run, as told so far.
#[derive(Debug)]
pub struct Report {
    start: Instant,
    expected: usize,
    left_out: usize,
    ended: Vec<Ended>,
}

impl Report {
    /// A run of so many cases, so many others being left out.
    pub fn new(expected: usize, left_out: usize) -> Self {
        println!("\nrunning {expected} tests in the lab");
        Self { start: Instant::now(), expected, left_out, ended: Vec::new() }
    }

    /// A lab is up.
    pub fn up(&self, lab: usize, wall: Duration, guest: f64, kernel: &str) {
        let lab = lab + 1;
        println!("lab {lab}: up after {:.1} s ({guest:.1} s by its own clock), Linux {kernel}", wall.as_secs_f64());
    }

    /// A case is over.
    pub fn ended(&mut self, ended: Ended) {
        let word = match ended.outcome {
            Outcome::Ok | Outcome::Skipped => "ok",
            Outcome::Failed => "FAILED",
            Outcome::Late => "FAILED (not done in time)",
        };
        println!("test {} ... {word} ({:.1} s)", ended.name, ended.seconds);
        if ended.outcome == Outcome::Skipped {
            skips(&ended.output).for_each(|line| println!("{line}"));
        }
        if ended.outcome.is_bad() {
            print!("{}", quoted(&ended.output));
        }
        self.ended.push(ended);
    }

    /// A lab failed, and is booted once more for what is not over.
    pub fn again(&self, lab: usize, error: &LabError) {
        println!("\nLAB {} FAILED and is booted once more: {}", lab + 1, error.with_causes());
        print!("{}", quoted(error.console().unwrap_or_default()));
    }

    /// What is done again has not been done.
    pub fn forget(&mut self, name: &str) {
        self.ended.retain(|ended| ended.name != name);
    }

    /// Those that are over.
    pub fn all(&self) -> &[Ended] {
        &self.ended
    }

    /// The lab stays up.
    pub fn kept(&self, shell: &Path) {
        let lab = std::env::current_exe().unwrap_or_default();
        println!("lab: stays up; a root shell in it: {} shell {}", lab.display(), shell.display());
        println!("lab: it ends with `poweroff -ff` in there, or with Ctrl-C here");
    }

    /// The end: true when all is well.
    pub fn close(self, failure: Option<&LabError>) -> bool {
        let failed: Vec<&Ended> = self.ended.iter().filter(|ended| ended.outcome.is_bad()).collect();
        if !failed.is_empty() {
            println!("\nfailures:");
            for ended in &failed {
                println!("    {}", ended.name);
            }
        }
        if let Some(error) = failure {
            let lost = self.expected - self.ended.len();
            println!("\nTHE LAB FAILED, {lost} cases were not done: {}", error.with_causes());
            if let Some(console) = error.console() {
                println!("---- the end of its console ----\n{console}\n----");
            }
        }
        // What the lab's failure has kept from being known has not passed.
        let bad = failed.len() + if failure.is_some() { (self.expected - self.ended.len()).max(1) } else { 0 };
        let word = if bad == 0 { "ok" } else { "FAILED" };
        println!(
            "\ntest result: {word}. {} passed; {bad} failed; 0 ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
            self.ended.len() - failed.len(),
            self.left_out,
            self.start.elapsed().as_secs_f64()
        );
        bad == 0
    }
}
