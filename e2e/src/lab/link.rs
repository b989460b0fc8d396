//! What the two sides of a lab say to each other over a virtio-serial port: one JSON object a line.
//!
//! ```text
//! lab     {"event":"up","seconds":7.1,"kernel":"6.1.0-…"}
//! outside {"order":"run","program":"cases","name":"exec::…","seconds":180}
//! lab     {"event":"ended","name":"exec::…","outcome":"ok","seconds":1.9,"output":"…"}
//! …
//! outside {"order":"end"}
//! ```

use crate::verdict::Outcome;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How often the lab says at least that it is there, while a case runs.
pub const BEAT: Duration = Duration::from_secs(5);

/// The name of the port.
pub const PORT: &str = "lab";

/// What the lab is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case")]
pub enum Order {
    /// Run this, and say how it went.
    Run(Case),
    /// Nothing more comes: stay up, for whoever wants to look around.
    Stay,
    /// Nothing more comes: switch off.
    End,
}

/// The program that a lab runs, once for each case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Program {
    /// That of the end-to-end cases: a case is one of its tests.
    Cases,
    /// That of the benchmarks: a case is one of its topics.
    Bench,
}

impl Program {
    /// What it is called in the lab.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cases => "cases",
            Self::Bench => "bench",
        }
    }
}

/// One case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// Whose case it is.
    pub program: Program,
    /// As that program knows it.
    pub name: String,
    /// How long it may take.
    pub seconds: u64,
}

/// What happens in the lab.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// It is ready for an [`Order`].
    Up {
        /// Since its kernel started.
        seconds: f64,
        /// Its release.
        kernel: String,
    },
    /// The case runs, and nothing else has happened for [`BEAT`].
    Alive,
    /// The case is over.
    Ended(Ended),
}

/// How a case went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// Which.
    pub name: String,
    /// How.
    pub outcome: Outcome,
    /// How long it took.
    pub seconds: f64,
    /// What it printed, its middle left out where it is long.
    pub output: String,
}
