//! What is seen of work that several operations wait for: each is told all of it, from wherever it came in.

use super::shared::Reporter;
use crate::{op::OpCx, task::Mutex};
use banger_image::progress::Progress;
use banger_model::api::op::Stage;
use std::sync::Arc;

/// A state of the work; later ones contain earlier ones.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    said: Arc<Vec<Said>>,
    bytes: Option<(u64, Option<u64>)>,
}

#[derive(Debug, Clone)]
enum Said {
    Stage(Stage, String),
    Line(String),
}

/// Passes states on to an operation, each thing once.
#[derive(Debug, Default)]
pub(super) struct Relay {
    passed: usize,
}

impl Relay {
    pub(super) fn pass(&mut self, seen: &Seen, cx: &OpCx) {
        for said in seen.said.iter().skip(self.passed) {
            match said {
                Said::Stage(stage, detail) => cx.stage(*stage, detail.clone()),
                Said::Line(text) => cx.note(text.clone()),
            }
        }
        self.passed = seen.said.len();
        if let Some((done, total)) = seen.bytes {
            cx.progress(done, total);
        }
    }
}

/// Takes in what the work tells.
pub(super) struct Witness<T> {
    seen: Mutex<Seen>,
    reporter: Reporter<Seen, T>,
    /// Which stage a named part of the work belongs to.
    stage_of: fn(&str) -> Stage,
}

impl<T> Witness<T> {
    pub(super) fn new(reporter: Reporter<Seen, T>, stage_of: fn(&str) -> Stage) -> Self {
        Self { seen: Mutex::default(), reporter, stage_of }
    }

    fn change(&self, change: impl FnOnce(&mut Seen)) {
        let mut seen = self.seen.lock();
        change(&mut seen);
        self.reporter.report(seen.clone());
    }

    fn say(&self, said: Said) {
        self.change(|seen| {
            seen.bytes = seen.bytes.filter(|_| matches!(said, Said::Line(_)));
            Arc::make_mut(&mut seen.said).push(said);
        });
    }
}

impl<T: Send + Sync> Progress for Witness<T> {
    fn stage(&self, name: &str) {
        self.say(Said::Stage((self.stage_of)(name), name.to_owned()));
    }

    fn bytes(&self, done: u64, total: Option<u64>) {
        self.change(|seen| seen.bytes = Some((done, total)));
    }

    fn line(&self, message: &str) {
        self.say(Said::Line(message.to_owned()));
    }
}
