//! What the two sides of the lab say to each other over a virtio-serial port: one JSON object a line.
//!
//! ```text
//! lab     {"event":"up","seconds":7.1,"kernel":"6.1.0-…"}
//! outside {"jobs":2,"keep":false,"cases":[{"name":"exec::…","seconds":180},…]}
//! lab     {"event":"begun","name":"exec::…"}
//! lab     {"event":"ended","name":"exec::…","outcome":"ok","attempts":1,"seconds":1.9,"output":"…"}
//! lab     {"event":"done"}
//! ```

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How often the lab says at least that it is there.
pub const BEAT: Duration = Duration::from_secs(5);

/// The name of the port.
pub const PORT: &str = "lab";

/// What is to be run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// How many at once.
    pub jobs: usize,
    /// Stay up afterwards.
    pub keep: bool,
    /// What the cases are.
    #[serde(default)]
    pub runs: Runs,
    /// In this order.
    pub cases: Vec<Case>,
}

/// The program that a lab runs, once for each case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Runs {
    /// That of the end-to-end cases: a case is one of its tests.
    #[default]
    Cases,
    /// That of the benchmarks: a case is one of its topics.
    Bench,
}

impl Runs {
    /// What it is called in the lab.
    pub fn program(self) -> &'static str {
        match self {
            Self::Cases => "cases",
            Self::Bench => "bench",
        }
    }
}

/// One case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// As the cases' program lists it.
    pub name: String,
    /// How long it may take.
    pub seconds: u64,
}

/// What happens in the lab.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// It is ready for a [`Plan`].
    Up {
        /// Since its kernel started.
        seconds: f64,
        /// Its release.
        kernel: String,
    },
    /// A case has begun.
    Begun {
        /// Which.
        name: String,
    },
    /// A case is over.
    Ended(Ended),
    /// Nothing else has happened for [`BEAT`].
    Alive,
    /// All are.
    Done,
}

/// How a case went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// Which.
    pub name: String,
    /// How.
    pub outcome: Outcome,
    /// At which attempt.
    pub attempts: u32,
    /// How long it took, all attempts together.
    pub seconds: f64,
    /// What it printed, its middle left out where it is long.
    pub output: String,
}

/// How a case went, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It passed.
    Ok,
    /// It passed, saying that it could not run.
    Skipped,
    /// It failed.
    Failed,
    /// It was killed at its deadline.
    Late,
}
