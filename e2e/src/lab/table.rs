//! Which of the end-to-end cases run in the lab, and why the others do not. The first rule that fits a name holds.

use super::{
    LabError,
    inside::SHARED,
    link::{Case, Program},
};

/// Whether a case runs in the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// With a machine of its own.
    Alone,
    /// In the machine that many cases share.
    Shared,
    /// Not, and why.
    No(&'static str),
}

const NO_NETWORK: &str = "Firecracker has no network without root";
const NO_VMM: &str = "it boots nothing: the VMM makes no difference";
const SAME: &str = "what it is about is the daemon's, whatever the VMM, and it boots several machines";
const TOLD: &str = "what the client makes of what it is told is the same, whatever the VMM";
const KILLED: &str = "daemons are killed there at any moment, by kills::whatever";
const ABOUT_HOST: &str = "it is about what this host has: registries, package tools, a user";

/// Beginnings of names.
const RULES: &[(&str, Fit)] = &[
    ("shared::", Fit::Shared),
    // What banger promises of a command.
    ("exec::a_vm_that_is_not_there", Fit::No(NO_VMM)),
    ("exec::", Fit::Shared),
    ("streams::", Fit::Shared),
    ("typing::run_gives_a_shell", Fit::Alone),
    ("typing::", Fit::Shared),
    ("copy::", Fit::Shared),
    ("guest::poweroff", Fit::Alone),
    ("guest::a_panic", Fit::Alone),
    ("guest::as_many_processors", Fit::Alone),
    ("guest::", Fit::Shared),
    // A machine's life.
    ("run::what_cannot_be", Fit::No(NO_VMM)),
    ("run::a_name_that_is_not_given", Fit::No(NO_VMM)),
    ("run::progress", Fit::No(TOLD)),
    ("run::on_a_terminal", Fit::No(TOLD)),
    ("run::", Fit::Alone),
    ("life::a_name_that_is_taken", Fit::No(NO_VMM)),
    ("life::verbs_on_a_vm", Fit::No(NO_VMM)),
    ("life::vms_made_at_the_same_time", Fit::No(NO_VMM)),
    ("life::a_prune", Fit::No(SAME)),
    ("life::list_and_show", Fit::No(TOLD)),
    ("life::a_running_vm_is_only", Fit::No(SAME)),
    ("life::several_are_taken", Fit::No(SAME)),
    ("life::", Fit::Alone),
    ("daemon::vms_outlive", Fit::No(KILLED)),
    ("daemon::a_vmm_that", Fit::Alone),
    ("daemon::a_home_with", Fit::Alone),
    ("daemon::", Fit::No(NO_VMM)),
    (
        "faults::an_agent_that_never_answers",
        Fit::No("KVM is proved with that very agent, and would be taken for broken"),
    ),
    ("faults::", Fit::Alone),
    ("kernels::", Fit::No(ABOUT_HOST)),
    ("groups::", Fit::Alone),
    ("usage::", Fit::Alone),
    ("host::root_a_disk_that_fills_up_under", Fit::Alone),
    ("host::", Fit::No(ABOUT_HOST)),
    ("vmms::a_vmm_that", Fit::No("it is about QEMU")),
    ("vmms::firecracker_boots_or_says", Fit::No("where it boots, each case boots it")),
    ("vmms::", Fit::Alone),
    ("api::a_vm_from_create", Fit::No(SAME)),
    ("api::", Fit::No(NO_VMM)),
    ("crash::killed_while_an_image", Fit::No(ABOUT_HOST)),
    ("crash::", Fit::No(KILLED)),
    ("kills::whatever", Fit::Alone),
    ("kills::", Fit::No("one series is enough")),
    ("speech::", Fit::No(NO_VMM)),
    ("images::", Fit::No(ABOUT_HOST)),
    ("network::", Fit::No(NO_NETWORK)),
    ("debian::an_image_with_systemd", Fit::Alone),
    ("debian::", Fit::No("systemd in a guest that is emulated twice takes minutes")),
    ("lab::", Fit::No("it is about the lab itself")),
];

/// What the table says of a case.
///
/// # Errors
/// When no rule fits: whoever adds a topic decides.
pub fn fit(name: &str) -> Result<Fit, LabError> {
    let rule = RULES.iter().find(|(beginning, _)| name.starts_with(beginning)).map(|(_, fit)| *fit);
    rule.ok_or_else(|| LabError::NoRule(name.to_owned()))
}

/// It may take four times what it takes on an idle machine.
fn case(name: &str) -> Case {
    let seconds = match fit(name) {
        Ok(Fit::Shared) if name != SHARED => 120,
        _ => 240,
    };
    Case { program: Program::Cases, name: name.to_owned(), seconds }
}

/// Those of the names that hold one of the words, if there are words.
///
/// # Errors
/// When a word fits no name.
pub fn named(names: &[String], words: &[String]) -> Result<Vec<String>, LabError> {
    let has = |name: &String, word: &String| name.contains(word.as_str());
    match words.iter().find(|word| !names.iter().any(|name| has(name, word))) {
        Some(word) => Err(LabError::NoCase(word.clone())),
        None => Ok(names
            .iter()
            .filter(|name| words.is_empty() || words.iter().any(|word| has(name, word)))
            .cloned()
            .collect()),
    }
}

/// Those of the names that run in the lab and hold one of the words, if there are words; those that need the shared machine
/// bring the case that boots it.
///
/// # Errors
/// When a word fits no case, or a name no rule.
pub fn choose(names: &[String], words: &[String]) -> Result<Vec<Case>, LabError> {
    let mut chosen = Vec::new();
    let mut shared = false;
    // Every name has to have its rule, whether it is asked for or not.
    names.iter().try_for_each(|name| fit(name).map(drop))?;
    for name in named(names, words)? {
        let fit = fit(&name)?;
        if !matches!(fit, Fit::No(_)) {
            shared |= fit == Fit::Shared;
            chosen.push(case(&name));
        }
    }
    for word in words {
        if !chosen.iter().any(|case| case.name.contains(word.as_str())) {
            return Err(LabError::NotThere(word.clone()));
        }
    }
    if shared && !chosen.iter().any(|case| case.name == SHARED) {
        chosen.push(case(SHARED));
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        [SHARED, "exec::one", "run::two", "network::three"].map(str::to_owned).into()
    }

    fn chosen(words: &[&str]) -> Vec<String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        choose(&names(), &words).unwrap().into_iter().map(|case| case.name).collect()
    }

    #[test]
    fn all_but_those_that_cannot_run_there() {
        assert_eq!(chosen(&[]), [SHARED, "exec::one", "run::two"]);
    }

    #[test]
    fn a_case_brings_the_machine_that_it_shares_and_one_with_its_own_does_not() {
        assert_eq!(chosen(&["exec"]), ["exec::one", SHARED]);
        assert_eq!(chosen(&["two"]), ["run::two"]);
    }

    #[test]
    fn names_are_found_by_any_of_the_words() {
        let named = |words: &[&str]| named(&names(), &words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(named(&[]).unwrap().len(), 4);
        assert_eq!(named(&["two", "network"]).unwrap(), ["run::two", "network::three"]);
    }

    #[test]
    fn words_without_a_case_and_names_without_a_rule_are_said() {
        assert!(matches!(choose(&names(), &["four".into()]), Err(LabError::NoCase(word)) if word == "four"));
        assert!(matches!(choose(&names(), &["three".into()]), Err(LabError::NotThere(word)) if word == "three"));
        assert!(matches!(choose(&["new::topic".into()], &[]), Err(LabError::NoRule(name)) if name == "new::topic"));
    }
}
