//! What an examination of the host found, as it is shown to people. Pure.

use super::{
    clean,
    style::{Style, Tone},
};
use banger_model::api::doctor::{Check, DoctorReport, Outcome};

/// One check; what to do about it on a line of its own.
pub(crate) fn render(check: &Check, style: Style) -> String {
    let (word, tone) = match check.outcome {
        Outcome::Pass => ("pass", Tone::Good),
        Outcome::Warn => ("warn", Tone::Warning),
        Outcome::Fail => ("FAIL", Tone::Error),
    };
    let name = style.paint(Tone::Bold, &clean::line(&check.name));
    let mut text = format!("{}  {name}: {}\n", style.paint(tone, word), clean::line(&check.detail));
    if let Some(fix) = &check.fix {
        text.push_str(&format!("      {} {}\n", style.paint(Tone::Hint, "hint:"), clean::line(fix)));
    }
    text
}

/// All in a sentence.
pub(crate) fn verdict(report: &DoctorReport) -> String {
    let count = |outcome| report.checks.iter().filter(|check| check.outcome == outcome).count();
    match (count(Outcome::Fail), count(Outcome::Warn)) {
        (0, 0) => "VMs can run here".into(),
        (0, 1) => "VMs can run here; 1 warning".into(),
        (0, warnings) => format!("VMs can run here; {warnings} warnings"),
        (1, _) => "VMs cannot run here as it is; 1 check failed".into(),
        (failures, _) => format!("VMs cannot run here as it is; {failures} checks failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_and_the_verdict() {
        let check = |name: &str, outcome, fix: Option<&str>| Check {
            name: name.into(),
            outcome,
            detail: "as it is".into(),
            fix: fix.map(Into::into),
        };
        let checks = vec![
            check("qemu", Outcome::Pass, None),
            check("kvm", Outcome::Warn, Some("nothing: it is only slower")),
            check("passt", Outcome::Fail, Some("apt install passt")),
        ];
        let text: String = checks.iter().map(|check| render(check, Style::PLAIN)).collect();
        insta::assert_snapshot!(text + &verdict(&DoctorReport { checks }));
    }
}
