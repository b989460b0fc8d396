//! What banger says: refusals, JSON, help, and the way from an error to the log.

use banger_e2e::{Output, smoke::User};
use serde_json::Value;

pub(crate) fn bad_words(user: &User) {
    for (words, says) in [
        ("--name ../x", "../x"),
        ("--name UPPER", "UPPER"),
        ("--name -x", "-x"),
        ("--memory lots", "lots"),
        ("--memory 900T", "memory"),
        ("--vcpu 0", "vcpu"),
        ("--disk-size 1", "disk"),
        ("--net bridge", "bridge"),
        ("--vmm xen", "xen"),
        ("--image ftp://x/y", "ftp"),
    ] {
        let output = user.banger("vm run --rm").words(words).words("-- true").run();
        assert!(output.stderr.to_lowercase().contains(&says.to_lowercase()), "{says}: {output}");
        output.fails_with(&[]);
    }
    let long = "x".repeat(64);
    user.banger("vm create --name").arg(&long).run().fails_with(&["63"]);
    user.banger("vm create --no-such-flag").run().expect_status(2).fails_with(&["no-such-flag"]);
    user.banger("no-such-word").run().expect_status(2).fails_with(&["no-such-word"]);
    // The statuses of a run are its command's, so its own failures have one that is none of these.
    user.banger("vm run --detach --rm").run().expect_status(125).fails_with(&["--rm"]);
}

pub(crate) fn no_such_vm(user: &User) {
    let name = user.name("box");
    for verb in ["start", "stop", "restart", "kill", "delete", "show", "logs", "stats"] {
        let output = user.banger("vm").arg(verb).arg(&name).run();
        output.expect_status(1).fails_with(&[&format!("there is no VM named {name}"), "(op-"]);
    }
    for words in ["vm exec --", "vm shell --"] {
        let (verb, _) = words.rsplit_once(' ').unwrap();
        let call = user.banger(verb).arg(&name);
        let call = if verb.ends_with("exec") { call.words("-- true") } else { call };
        call.run().expect_status(125).fails_with(&[&name, "(op-"]);
    }
    user.banger("vm cp").arg(format!("{name}:/etc/passwd")).arg("x").run().expect_status(1).fails_with(&[&name]);
}

/// The id that an error ends with.
fn op(output: &Output) -> String {
    let id = output.stderr.split("(op-").nth(1).and_then(|rest| rest.split(')').next());
    format!("op-{}", id.unwrap_or_else(|| panic!("no id: {output}")))
}

pub(crate) fn debug(user: &User) {
    let failed = |what: &str| user.banger("vm start").arg(user.name(what)).run();
    let (one, other) = (failed("one"), failed("other"));
    let (one_op, other_op) = (op(&one), op(&other));
    assert_ne!(one_op, other_op);
    let log = user.banger("debug").arg(&one_op).run();
    let (own, others) = (user.name("one"), user.name("other"));
    assert!(log.ok().contains(&format!("there is no VM named {own}")) && !log.ok().contains(&others), "{log}");
    let records = user.banger("debug --json").arg(&one_op).run().json();
    assert_eq!(records["records"].as_array().unwrap().len(), log.ok().lines().count());
    user.banger("debug op-0000000000000000").run().fails_with(&["nothing is logged"]);
}

/// Each line of it is JSON, or all of it.
fn is_json(output: &Output) -> bool {
    let parses = |text: &str| serde_json::from_str::<Value>(text).is_ok();
    parses(&output.stdout) || (!output.stdout.is_empty() && output.stdout.lines().all(parses))
}

pub(crate) fn json(user: &User) {
    let name = user.name("box");
    let create = user.banger("vm create --json --name").arg(&name).succeeds();
    assert!(is_json(&create), "{create}");
    for words in ["vm list", "vm stats", "image list", "kernel list", "kernel show debian", "daemon status"] {
        let output = user.banger(words).arg("--json").succeeds();
        assert!(is_json(&output) || (words == "vm stats" && output.stdout.is_empty()), "{output}");
    }
    for verb in ["show", "stop", "kill", "delete"] {
        let output = user.banger("vm --json").arg(verb).arg(&name).succeeds();
        assert!(is_json(&output), "{output}");
    }
    let error = user.banger("vm --json show").arg(&name).run();
    error.expect_status(1);
    assert!(is_json(&error) && error.stdout.contains("vm-not-found"), "{error}");
}

pub(crate) fn completions(user: &User) {
    for shell in ["bash", "zsh", "fish"] {
        let script = user.banger("completions").arg(shell).run();
        assert!(script.ok().contains("banger") && script.ok().contains("disk-size"), "{shell}: {script}");
    }
    let bash = user.banger("completions bash").succeeds();
    user.tool("bash").arg("-n").stdin(bash.bytes).succeeds();
    user.banger("man").arg("pages").succeeds();
    let page = std::fs::read_to_string(user.folder().join("pages/banger-vm-run.1")).unwrap();
    assert!(page.contains(".TH") && page.contains("detach"), "{page}");
    for words in ["--help", "vm --help", "vm run --help", "image --help", "kernel --help", "debug --help"] {
        assert!(user.banger(words).run().ok().lines().count() > 5, "{words}");
    }
    assert!(user.banger("--version").run().ok().starts_with("banger "));
}
