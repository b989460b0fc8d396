//! `vm run`: the main job, from an image's name to a command's exit status.

use banger_e2e::{Sandbox, processes, terminal::Terminal, wait_for};

#[test]
fn a_command_runs_and_nothing_is_left() {
    let sandbox = Sandbox::new();
    let output = sandbox.banger("vm run --rm -- uname -s").run();
    assert_eq!(output.ok(), "Linux");
    sandbox.assert_no_vm_left();
}

#[test]
fn the_status_is_the_commands_and_rm_deletes_whatever_it_is() {
    let sandbox = Sandbox::new();
    sandbox.banger("vm run --rm -- sh -c").arg("exit 37").run().expect_status(37);
    sandbox.assert_no_vm_left();
    sandbox.banger("vm run --rm -- no-such-command").run().expect_status(127).says(&["no-such-command"]);
    sandbox.assert_no_vm_left();
}

#[test]
fn stdin_stdout_and_stderr_are_the_commands() {
    let sandbox = Sandbox::new();
    let output = sandbox.banger("vm run --rm -- sh -c").arg("wc -c; echo err >&2").stdin("hi\n").run();
    assert_eq!(output.ok().trim(), "3");
    assert!(output.stderr.lines().any(|line| line == "err"), "{output}");
}

/// Stages that every run has.
const STAGES: [&str; 3] = ["make the disks", "start the VMM", "boot"];

#[test]
fn progress_goes_to_stderr_as_plain_lines_and_begins_with_what_the_vm_is_made_of() {
    let sandbox = Sandbox::new();
    let output = sandbox.banger("vm run --rm --vcpu 2 --memory 384M --disk-size 2G -- true").run();
    assert_eq!(output.ok(), "");
    let spec = output.stderr.lines().find(|line| line.contains("vcpu")).unwrap_or_else(|| panic!("{output}"));
    for part in ["2 vcpu", "384 MiB", "2 GiB"] {
        assert!(spec.contains(part), "{spec}");
    }
    let said: Vec<_> = output.stderr.lines().filter(|line| STAGES.contains(line)).collect();
    assert_eq!(said, STAGES, "each stage once, in order: {output}");
    assert!(!output.stderr.contains('\x1b') && !output.stderr.contains('\r'), "no terminal, no escapes: {output}");
}

#[test]
fn on_a_terminal_each_stage_has_a_live_line_that_goes_when_it_ends() {
    let sandbox = Sandbox::new();
    let mut terminal = Terminal::open(sandbox.banger("vm run --rm -- echo here"));
    terminal.shows("\u{2801} boot");
    terminal.shows("here");
    assert!(terminal.ends().success(), "{}", terminal.shown());
    let screen = terminal.screen();
    assert_eq!(screen.last().map(String::as_str), Some("here"), "{screen:#?}");
    assert!(screen[0].starts_with("spec: "), "{screen:#?}");
    // One that took long leaves a line with its time; none leaves itself.
    let left = |line: &&String| line.contains(char::is_alphabetic) && STAGES.iter().any(|stage| line.ends_with(stage));
    assert_eq!(screen.iter().find(left), None, "{screen:#?}");
}

#[test]
fn without_rm_the_vm_stays_and_its_disks_with_it() {
    let sandbox = Sandbox::new();
    sandbox.banger("vm run --name kept -- sh -c").arg("echo mine >/root/file; echo too >/etc/file").run().ok();
    let kept = sandbox.existing("kept");
    if kept.status() == "stopped" {
        kept.does("start");
    }
    assert_eq!(kept.exec("cat /root/file /etc/file").run().ok(), "mine\ntoo");
}

#[test]
fn a_client_that_dies_takes_its_rm_vm_with_it() {
    let sandbox = Sandbox::new();
    let call = sandbox.banger("vm run --rm --name brief -- sleep 1000").start();
    sandbox.existing("brief").wait_for_process("sleep 1000");
    processes::kill(call.pid());
    wait_for("the VM to be deleted", || sandbox.vm_names().is_empty().then_some(()));
    sandbox.assert_no_vm_left();
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_made() {
    let sandbox = Sandbox::new();
    for (words, says) in [
        ("vm run --rm --memory 0 -- true", "memory"),
        ("vm run --rm --memory 900T -- true", "memory"),
        ("vm run --rm --memory lots -- true", "lots"),
        ("vm run --rm --vcpu 0 -- true", "vcpu"),
        ("vm run --rm --disk-size 1 -- true", "disk"),
        ("vm run --rm --name ../x -- true", "../x"),
        ("vm run --rm --name UPPER -- true", "UPPER"),
        ("vm run --rm --vmm xen -- true", "xen"),
        ("vm run --rm --net bridge -- true", "bridge"),
        ("vm run -d --rm", "--rm"),
    ] {
        let output = sandbox.banger(words).run();
        assert!(output.stderr.to_lowercase().contains(&says.to_lowercase()), "{says}: {output}");
        output.fails_with(&[]);
    }
    let long = "x".repeat(64);
    sandbox.banger("vm run --rm --name").arg(&long).words("-- true").run().fails_with(&["63"]);
    sandbox.assert_no_vm_left();
}

#[test]
fn a_name_that_is_not_given_is_two_words() {
    let sandbox = Sandbox::new();
    sandbox.banger("vm create").run().ok();
    let names = sandbox.vm_names();
    let [name] = &names[..] else { panic!("{names:?}") };
    assert!(
        name.split('-').count() >= 2 && name.chars().all(|c| c.is_ascii_lowercase() || c == '-' || c.is_ascii_digit()),
        "{name}"
    );
}
