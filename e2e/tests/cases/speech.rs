//! How banger speaks: data on stdout, talk on stderr, JSON when asked, help, completions, manual pages, doctor.

use crate::kernels::bzimage;
use banger_e2e::{Sandbox, call::Call, fixture::image, need, place::Place, sandbox::entries};
use serde_json::Value;
use std::process::Stdio;

/// Every verb with `--json`, in an order in which each succeeds, and what the last line of its answer has to have. `ARCHIVE`,
/// `KERNEL`, `PAGES` and `OP` stand for what only a run knows.
const ANSWERS: &[(&str, &str)] = &[
    ("completions bash", "/script"),
    ("man", "/page"),
    ("man PAGES", "/pages/0"),
    ("daemon stop", "/pid"),
    ("vm prune --force", "/vms"),
    ("vm create --name box", "/result/vm/name"),
    ("vm start box", "/result/vm/running/pid"),
    ("vm exec box -- true", "/exit/code"),
    ("vm exec --detach box -- true", "/exit/code"),
    ("vm shell box", "/exit/code"),
    ("vm cp ARCHIVE box:/root", "/entries"),
    ("vm logs box", "/line"),
    ("vm stats --interval 0 box", "/cpu/used_ms"),
    ("vm list", "/vms/0/name"),
    ("vm show box", "/name"),
    ("vm restart box", "/result/vm/running/pid"),
    ("vm kill box", "/result/vm/name"),
    ("vm stop box", "/result/vm/name"),
    ("vm delete box", "/event"),
    ("vm run --name other -- true", "/exit/code"),
    ("debug OP", "/records/0/timestamp"),
    ("vm kill other", "/result/vm/name"),
    ("vm prune --force", "/event"),
    ("image pull rootfs:ARCHIVE", "/result/image/digest"),
    ("image import rootfs:ARCHIVE local/box:1", "/result/image/digest"),
    ("image list", "/images/0/name"),
    ("image show local/box:1", "/digest"),
    ("image delete local/box:1", "/event"),
    ("kernel pull debian", "/result/kernel/digest"),
    ("kernel import KERNEL mine", "/result/kernel/digest"),
    ("kernel list", "/kernels/0/name"),
    ("kernel show mine", "/digest"),
    ("kernel delete mine", "/event"),
    ("doctor --no-boot", "/checks/0/name"),
    ("daemon status", "/pid"),
    ("daemon stop", "/pid"),
];

#[test]
fn every_verb_answers_in_json() {
    let sandbox = Sandbox::new();
    let pages = sandbox.scratch().join("pages");
    let mut op = String::new();
    for (words, wanted) in ANSWERS {
        let word = |word: &str| match word {
            "PAGES" => pages.display().to_string(),
            "KERNEL" => bzimage(&sandbox).display().to_string(),
            "OP" => op.clone(),
            word => word.replace("ARCHIVE", &image::busybox().display().to_string()),
        };
        // What follows two dashes is a command's.
        let (ours, command) = words.split_once(" -- ").unwrap_or((words, ""));
        let mut call = ours.split(' ').fold(sandbox.banger(""), |call, part| call.arg(word(part))).arg("--json");
        if !command.is_empty() {
            call = call.arg("--").words(command);
        }
        let output = call.run();
        output.expect_status(0);
        let lines: Vec<Value> = output
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}: {output}")))
            .collect();
        let last = lines.last().unwrap_or_else(|| panic!("it says nothing: {output}"));
        assert!(last.pointer(wanted).is_some(), "no {wanted} in the last line: {output}");
        if let Some(id) = lines[0]["op"].as_str() {
            op = id.to_owned();
        }
    }
    for page in entries(&pages) {
        let verb = page.file_stem().unwrap().to_str().unwrap().trim_start_matches("banger-").replace('-', " ");
        let group = verb == "banger" || ["vm", "image", "kernel", "daemon"].contains(&verb.as_str());
        assert!(group || ANSWERS.iter().any(|(words, _)| words.starts_with(&verb)), "nothing asks `{verb} --json`");
    }
    let error = sandbox.banger("vm show nobody --json").run();
    let body: Value = serde_json::from_str(error.stdout.trim()).unwrap_or_else(|_| panic!("{error}"));
    assert!(body.to_string().contains("vm-not-found"), "{error}");
}

#[test]
fn an_error_has_the_operations_id_which_the_daemons_log_has_too() {
    let sandbox = Sandbox::empty();
    let error = sandbox.banger("vm show nobody").run();
    error.fails_with(&["nobody", "(op-"]);
    let op = error.stderr.split("(op-").nth(1).unwrap().split(')').next().unwrap();
    let log = std::fs::read_to_string(sandbox.state().join("bangerd.log")).unwrap();
    assert!(log.lines().any(|line| line.contains(&format!("op-{op}"))), "{op} is not in the log:\n{log}");
    for line in log.lines() {
        serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
    }
}

#[test]
fn debug_tells_what_every_process_logged_for_one_operation() {
    let sandbox = Sandbox::new();
    let create = sandbox.banger("vm create --name box --net user --json").run();
    create.ok();
    let start = sandbox.banger("vm start box --json").run();
    start.ok();
    let begun: Value = serde_json::from_str(start.stdout.lines().next().unwrap()).unwrap();
    let op = begun["op"].as_str().unwrap();
    let log = sandbox.banger("debug").arg(op).run();
    let lines: Vec<&str> = log.ok().lines().collect();
    for wanted in ["bangerd: stage stage=Boot", "bangerd: operation succeeded", "banger-usernet "] {
        assert!(lines.iter().any(|line| line.contains(wanted)), "no {wanted:?}: {log}");
    }
    assert!(lines.is_sorted(), "each line begins with its time: {log}");
    let records = sandbox.banger("debug --json").arg(op).run().json();
    assert_eq!(records["records"].as_array().unwrap().len(), lines.len());

    let error = sandbox.banger("vm start nobody").run();
    let failed = error.stderr.split("(op-").nth(1).unwrap().split(')').next().unwrap();
    let told = sandbox.banger("debug").arg(format!("op-{failed}")).run();
    assert!(told.ok().contains("there is no VM named nobody"), "{told}");
    sandbox.banger("debug op-0000000000000000").run().fails_with(&["nothing is logged of op-0000000000000000"]);
}

#[test]
fn a_pipe_that_breaks_is_no_error_worth_a_word() {
    let sandbox = Sandbox::empty();
    sandbox.banger("vm list").run().ok();
    let script = format!("{} --help | head -n 1", Place::get().program("banger").display());
    let output = sandbox.tool("sh").words("-c").arg(script).run();
    output.ok();
    assert_eq!(output.stderr, "");
    for words in ["vm list --json", "kernel list", "completions bash"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = sandbox.banger(words).into_command();
        command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped());
        let output = command.spawn().unwrap().wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), stderr.as_ref()), (Some(141), ""), "{words}");
    }
}

#[test]
fn help_version_and_misuse() {
    let sandbox = Sandbox::empty();
    let version = sandbox.banger("--version").run();
    assert!(version.ok().starts_with("banger "), "{version}");
    for words in
        ["--help", "vm --help", "vm run --help", "image --help", "kernel --help", "daemon --help", "doctor --help"]
    {
        assert!(sandbox.banger(words).run().ok().len() > 100, "{words}");
    }
    sandbox.banger("no-such-word").run().expect_status(2).fails_with(&["no-such-word"]);
    sandbox.banger("vm run --no-such-flag").run().fails_with(&["no-such-flag"]);
    assert_eq!(sandbox.processes(), [], "none of this needs a daemon");
}

#[test]
fn completions_and_manual_pages_come_from_the_same_definitions() {
    let sandbox = Sandbox::empty();
    for shell in ["bash", "zsh", "fish"] {
        let script = sandbox.banger("completions").arg(shell).run();
        assert!(script.ok().contains("banger") && script.ok().contains("disk-size"), "{shell}");
    }
    let bash = sandbox.banger("completions bash").run();
    sandbox.tool("bash").words("-n").stdin(bash.bytes).run().ok();
    let pages = sandbox.scratch().join("man");
    sandbox.banger("man").arg(&pages).run().ok();
    let run = std::fs::read_to_string(pages.join("banger-vm-run.1")).unwrap();
    assert!(run.contains("disk") && run.contains(".TH"), "{run}");
    assert!(pages.join("banger.1").is_file());
}

#[test]
fn doctor_looks_at_everything_and_boots_a_throwaway_vm() {
    let sandbox = Sandbox::new();
    let doctor = sandbox.banger("doctor --json").run();
    let events: Vec<Value> = doctor.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let done = events.last().unwrap();
    let checks = done["result"]["doctor"]["checks"].as_array().unwrap_or_else(|| panic!("{doctor}"));
    for word in ["QEMU", "KVM", "Firecracker", "user-mode network", "mmdebstrap", "memory"] {
        assert!(checks.iter().any(|check| check["name"] == word), "{word}: {doctor}");
    }
    for check in checks {
        let advised = check["fix"].as_str().is_some_and(|fix| !fix.is_empty());
        assert_eq!(advised, check["outcome"] != "pass", "what to do, unless all is well: {check}");
    }
    let last = checks.last().unwrap();
    assert!(last["detail"].as_str().unwrap().starts_with("booted in "), "it ends with how long a boot took: {last}");
    sandbox.assert_no_vm_left();
}

#[test]
fn without_a_home_it_says_so() {
    let program = Place::get().program("banger");
    let output = Call::new(program).only([("PATH", "/usr/bin")]).words("vm list").run();
    output.fails_with(&["HOME"]);
    if need::is_root() {
        return;
    }
    let output = Call::new(Place::get().program("banger")).only([("HOME", "/proc/no-such")]).words("vm list").run();
    output.fails_with(&["/proc/no-such"]);
}
