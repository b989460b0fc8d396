//! What is told of a run: each scenario whole when it has ended, and sums.

use super::{Class, Scenario, attempt::Attempt};
use crate::verdict::{Outcome, quoted, skips};
use std::{
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

/// How many went how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Tally {
    fn count(&mut self, outcome: Outcome) {
        *match outcome {
            Outcome::Ok => &mut self.passed,
            Outcome::Skipped => &mut self.skipped,
            Outcome::Failed | Outcome::Late => &mut self.failed,
        } += 1;
    }

    /// Whether nothing failed, and something was tried.
    pub fn is_good(self) -> bool {
        self.failed == 0 && self.passed > 0
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// One round, as told so far.
#[derive(Debug)]
pub struct Report {
    start: Instant,
    tally: Tally,
    failed: Vec<String>,
}

impl Report {
    /// Of a round that begins.
    pub fn new(scenarios: usize, jobs: usize) -> Self {
        println!("running {scenarios} scenarios, {jobs} at once");
        Self { start: Instant::now(), tally: Tally::default(), failed: Vec::new() }
    }

    /// One has ended; `kept` is where its evidence lies, if it is kept.
    pub fn ended(&mut self, name: &str, attempt: &Attempt, kept: Option<&Path>) {
        self.tally.count(attempt.outcome);
        if attempt.outcome.is_bad() {
            self.failed.push(name.to_owned());
        }
        let text = told(name, attempt, kept);
        // At once, so that nothing comes in between.
        let _ = std::io::stdout().lock().write_all(text.as_bytes());
    }

    /// The end.
    pub fn close(self) -> Tally {
        if !self.failed.is_empty() {
            println!("failed: {}", self.failed.join(", "));
        }
        println!("smoke: {} in {}\n", self.tally, seconds(self.start.elapsed()));
        self.tally
    }
}

fn told(name: &str, attempt: &Attempt, kept: Option<&Path>) -> String {
    let word = match attempt.outcome {
        Outcome::Ok => "PASS",
        Outcome::Skipped => "SKIP",
        Outcome::Failed => "FAIL",
        Outcome::Late => "FAIL (not done in time)",
    };
    // Where whoever counts them finds them, once.
    let skipped: String = skips(&attempt.output).map(|line| format!("{line}\n")).collect();
    let output: String =
        attempt.output.lines().filter(|line| !line.starts_with("SKIPPED: ")).map(|line| format!("{line}\n")).collect();
    let kept = kept.map_or_else(String::new, |folder| format!("    logs: {}\n", folder.display()));
    format!("{word} {name} ({})\n{skipped}{}{kept}", seconds(attempt.took), quoted(&output))
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// The table for people.
pub fn list(table: &[&'static Scenario]) -> String {
    let width = |text: fn(&Scenario) -> String| {
        table.iter().copied().map(text).map(|text| text.len()).max().unwrap_or_default()
    };
    let (name, class) = (width(|s| s.name.to_owned()), width(|s| s.class.to_string()));
    let mut order = table.to_vec();
    order.sort_by_key(|scenario| (scenario.class == Class::Global, scenario.class == Class::Independent));
    let line = |s: &Scenario| format!("{:name$}  {:class$}  {}\n", s.name, s.class.to_string(), s.shows);
    order.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(outcome: Outcome, output: &str) -> Attempt {
        Attempt { outcome, took: Duration::from_millis(1250), output: output.into() }
    }

    #[test]
    fn one_is_told_whole_with_its_output_set_apart() {
        let passed = told("life", &attempt(Outcome::Ok, "one\nsmoke: 9 passed\n"), None);
        assert_eq!(passed, "PASS life (1.2 s)\n    | one\n    | smoke: 9 passed\n");
        let skipped = told("pull", &attempt(Outcome::Skipped, "one\n\nSKIPPED: pull: no registry\n"), None);
        assert_eq!(skipped, "SKIP pull (1.2 s)\nSKIPPED: pull: no registry\n    | one\n");
        let failed = told("cp", &attempt(Outcome::Late, "why"), Some(Path::new("/kept/cp")));
        assert_eq!(failed, "FAIL (not done in time) cp (1.2 s)\n    | why\n    logs: /kept/cp\n");
    }

    #[test]
    fn a_run_is_good_when_nothing_failed_and_something_passed() {
        let tally = |outcomes: &[Outcome]| {
            let mut tally = Tally::default();
            outcomes.iter().for_each(|outcome| tally.count(*outcome));
            tally
        };
        assert!(tally(&[Outcome::Ok, Outcome::Skipped]).is_good());
        assert!(!tally(&[Outcome::Skipped]).is_good());
        let bad = tally(&[Outcome::Ok, Outcome::Failed, Outcome::Late]);
        assert!(!bad.is_good());
        assert_eq!(bad.to_string(), "1 passed, 2 failed, 0 skipped");
    }
}
