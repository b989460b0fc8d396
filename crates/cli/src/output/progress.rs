//! How an operation shows itself while it runs: one live line per stage on a terminal, a plain line per stage elsewhere,
//! nothing when the user wants quiet or JSON.

use super::{Ui, age, clean};
use banger_model::{
    ByteSize,
    api::op::{OpEvent, Stage, StageEvent, VmPlan},
};
use indicatif::{ProgressBar, ProgressStyle};
use std::time::{Duration, Instant};

/// A finished stage keeps its line when it took at least this long; the others would only be noise.
const WORTH_A_LINE: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(120);

/// Shows one operation.
pub(crate) struct Tracker<'a> {
    ui: &'a Ui,
    /// What the lines begin with when several operations run at the same time.
    label: String,
    stage: Option<Running>,
    /// What has been written as plain lines: stages come back, and once is enough where nothing moves.
    said: Vec<String>,
}

struct Running {
    event: StageEvent,
    since: Instant,
    amount: String,
    bar: Option<ProgressBar>,
}

impl<'a> Tracker<'a> {
    /// Nothing is shown before the first stage.
    pub(crate) fn new(ui: &'a Ui, label: Option<&str>) -> Self {
        let label = label.map(|label| format!("{label}: ")).unwrap_or_default();
        Self { ui, label, stage: None, said: Vec::new() }
    }

    /// Shows what an event tells.
    pub(crate) fn event(&mut self, event: &OpEvent) {
        match event {
            // A program that reads the events needs nobody to read them out.
            _ if self.ui.json => {}
            OpEvent::Stage(stage) => self.begin(stage.clone()),
            OpEvent::Progress { done, total } => self.advance(*done, *total),
            OpEvent::Note { text } => self.ui.say(&format!("{}{}", self.label, clean::line(text))),
            OpEvent::Plan(plan) => self.ui.say(&format!("{}{}", self.label, spec(plan))),
            // A check is data, not talk.
            OpEvent::Begun { .. } | OpEvent::Check(_) => {}
            OpEvent::Done { .. } | OpEvent::Failed { .. } => self.end_stage(),
        }
    }

    fn begin(&mut self, event: StageEvent) {
        self.end_stage();
        if self.ui.quiet {
            return;
        }
        let bar = if self.ui.is_live {
            let bar = self.ui.live.add(ProgressBar::new_spinner());
            // The template is a constant; the spinner alone is a fair second best.
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
                bar.set_style(style);
            }
            bar.set_message(format!("{}{}", self.label, doing(&event)));
            bar.enable_steady_tick(TICK);
            Some(bar)
        } else {
            let line = format!("{}{}", self.label, doing(&event));
            if !self.said.contains(&line) {
                self.ui.say(&line);
                self.said.push(line);
            }
            None
        };
        self.stage = Some(Running { event, since: Instant::now(), amount: String::new(), bar });
    }

    fn advance(&mut self, done: u64, total: Option<u64>) {
        let Some(stage) = &mut self.stage else { return };
        stage.amount = amount(stage.event.stage, done, total);
        if let Some(bar) = &stage.bar {
            bar.set_message(format!("{}{} {}", self.label, doing(&stage.event), stage.amount));
        }
    }

    fn end_stage(&mut self) {
        let Some(Running { event, since, amount, bar: Some(bar) }) = self.stage.take() else { return };
        bar.finish_and_clear();
        self.ui.live.remove(&bar);
        let elapsed = since.elapsed();
        if elapsed >= WORTH_A_LINE {
            let amount = if amount.is_empty() { amount } else { format!("{amount}, ") };
            self.ui.say(&format!("{}{} ({amount}{})", self.label, doing(&event), age::took(elapsed)));
        }
    }
}

impl Drop for Tracker<'_> {
    /// Leaves no live line behind, whichever way the operation's reader ends.
    fn drop(&mut self) {
        if let Some(Running { bar: Some(bar), .. }) = self.stage.take() {
            bar.finish_and_clear();
            self.ui.live.remove(&bar);
        }
    }
}

/// What a VM will be made of.
fn spec(plan: &VmPlan) -> String {
    let VmPlan { name, vcpu, memory, disk } = plan;
    format!("spec: {vcpu} vcpu · {} MiB · {disk} · {name}", memory.as_mib())
}

/// A stage in words. Work on images and kernels says itself what it does; what it is for would only be in the way.
fn doing(event: &StageEvent) -> String {
    let words = match event.stage {
        Stage::Wait => "wait for another operation",
        Stage::Resolve => "look for the image",
        Stage::Fetch => "fetch the image",
        Stage::Build => "build the image",
        Stage::Convert => "convert the image",
        Stage::Kernel => "get the kernel",
        Stage::Probe => "find out which VMM works here",
        Stage::Disks => "make the disks",
        Stage::Network => "set up the network",
        Stage::Vmm => "start the VMM",
        Stage::Boot => "boot",
        Stage::Shutdown => "shut down",
        Stage::Remove => "clean up",
    };
    match (event.stage, event.detail.as_str()) {
        (_, "") => words.to_owned(),
        (Stage::Resolve | Stage::Fetch | Stage::Build | Stage::Convert | Stage::Kernel, detail) => clean::line(detail),
        (_, detail) => format!("{words}: {}", clean::line(detail)),
    }
}

/// How far a stage is: bytes where a stage moves bytes, steps elsewhere.
fn amount(stage: Stage, done: u64, total: Option<u64>) -> String {
    let bytes = matches!(stage, Stage::Fetch | Stage::Convert | Stage::Kernel | Stage::Disks);
    let say = |n: u64| if bytes { ByteSize(n).to_string() } else { n.to_string() };
    match total {
        // A source may announce less than it sends; a total that was passed says nothing.
        Some(total) if total >= done => format!("{} of {}", say(done), say(total)),
        Some(_) | None => say(done),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_in_words() {
        let stage = |stage, detail: &str| doing(&StageEvent { stage, detail: detail.into() });
        assert_eq!(stage(Stage::Kernel, "download the kernel package"), "download the kernel package");
        assert_eq!(stage(Stage::Boot, ""), "boot");
        assert_eq!(stage(Stage::Wait, "x\x1b[2J"), "wait for another operation: x\\u{1b}[2J");
    }

    #[test]
    fn a_spec() {
        let plan = VmPlan { name: "box".parse().unwrap(), vcpu: 4, memory: ByteSize::gib(8), disk: ByteSize::gib(8) };
        assert_eq!(spec(&plan), "spec: 4 vcpu · 8192 MiB · 8 GiB · box");
    }

    #[test]
    fn amounts() {
        assert_eq!(amount(Stage::Fetch, 1 << 20, Some(3 << 20)), "1 MiB of 3 MiB");
        assert_eq!(amount(Stage::Fetch, 4 << 20, Some(3 << 20)), "4 MiB");
        assert_eq!(amount(Stage::Build, 3, Some(200)), "3 of 200");
        assert_eq!(amount(Stage::Build, 3, None), "3");
    }
}
