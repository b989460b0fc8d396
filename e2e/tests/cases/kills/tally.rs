//! How often what was hit.

use super::verb::Verb;
use std::{collections::BTreeMap, fmt, time::Duration};

/// An operation that was under way, or about to be, when the daemon was killed.
#[derive(Debug)]
pub(super) struct Hit {
    pub(super) verb: Verb,
    /// What it did, as its client was told; none when it was over, or had not begun.
    pub(super) stage: Option<&'static str>,
    /// Whether all VMMs had a record.
    pub(super) recorded: bool,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Tally {
    /// Kills while clients were at work.
    pub(super) kills: usize,
    /// Of these, how many with several at work.
    pub(super) crowds: usize,
    /// Kills of daemons on their way up.
    pub(super) recovering: usize,
    pub(super) hits: Vec<Hit>,
    /// How long a daemon takes to come up.
    pub(super) way_up: Duration,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self { kills: 0, crowds: 0, recovering: 0, hits: Vec::new(), way_up: Duration::from_millis(150) }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inside = self.hits.iter().filter(|hit| hit.stage.is_some()).count();
        writeln!(
            f,
            "{} kills of the daemon with {} operations before it ({} times with several at once), {inside} of them hit inside; \
             {} kills more while it recovered",
            self.kills,
            self.hits.len(),
            self.crowds,
            self.recovering
        )?;
        let launching = self.hits.iter().filter(|hit| hit.stage == Some("start the VMM"));
        let (recorded, not): (Vec<_>, Vec<_>) = launching.partition(|hit| hit.recorded);
        writeln!(f, "  a VMM was on its way {} times: before its record {}", recorded.len() + not.len(), not.len())?;
        for (verb, _) in Verb::WEIGHTED {
            let hits: Vec<_> = self.hits.iter().filter(|hit| hit.verb == verb).collect();
            let mut stages: BTreeMap<&str, usize> = BTreeMap::new();
            for stage in hits.iter().filter_map(|hit| hit.stage) {
                *stages.entry(stage).or_default() += 1;
            }
            let inside: usize = stages.values().sum();
            let stages: Vec<_> = stages.iter().map(|(stage, count)| format!("{stage} {count}")).collect();
            writeln!(f, "  {verb:?}: {}, inside {inside} ({})", hits.len(), stages.join(", "))?;
        }
        Ok(())
    }
}
