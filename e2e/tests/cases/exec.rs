//! `vm exec` is exact: what a command sees and how it ends are its own.

use crate::shared::vm;
use banger_e2e::{Sandbox, processes};

#[test]
fn the_exit_status_is_the_commands() {
    vm().exec("true").run().ok();
    vm().sh("exit 37").run().expect_status(37);
    vm().sh("exit 255").run().expect_status(255);
}

#[test]
fn a_signal_is_128_and_its_number() {
    vm().sh("kill -TERM $$").run().expect_status(143);
    vm().sh("kill -KILL $$").run().expect_status(137);
}

#[test]
fn what_is_not_there_is_127_and_what_is_no_program_126() {
    vm().exec("no-such-command").run().expect_status(127).says(&["no-such-command"]);
    vm().exec("/no/such/command").run().expect_status(127).says(&["/no/such/command"]);
    vm().exec("/etc/passwd").run().expect_status(126).says(&["/etc/passwd"]);
    vm().exec("/tmp").run().expect_status(126).says(&["/tmp"]);
}

#[test]
fn stdout_and_stderr_stay_apart_and_nothing_is_added() {
    let output = vm().sh("echo out; echo err >&2; printf end").run();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\nend", "err\n"));
}

#[test]
fn stdin_is_read_to_its_end() {
    assert_eq!(vm().exec("wc -c").stdin("hi\n").run().ok().trim(), "3");
    assert_eq!(vm().exec("wc -c").run().ok().trim(), "0", "nothing there is an end, too");
}

#[test]
fn a_command_need_not_read_its_stdin() {
    vm().exec("true").stdin(vec![b'x'; 8 << 20]).run().ok();
}

#[test]
fn arguments_arrive_as_they_are() {
    let odd = "a  b\t$HOME 'q' \"d\" \\ * ü\n";
    assert_eq!(vm().exec("printf %s").arg(odd).run().stdout, odd);
    assert_eq!(vm().exec("printf [%s]").arg("").run().stdout, "[]");
}

#[test]
fn the_environment_is_the_images_with_what_was_asked_for() {
    let output = vm().exec_with("--env A=1 --env B=two=2", "env").run();
    let lines: Vec<_> = output.ok().lines().collect();
    assert!(lines.contains(&"A=1") && lines.contains(&"B=two=2"), "{lines:?}");
    assert!(lines.contains(&"HOME=/root"), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("PATH=") && line.contains("/bin")), "{lines:?}");
    let own = ["XDG_", "CARGO", "RUST", "LC_ALL"];
    assert!(!lines.iter().any(|line| own.iter().any(|name| line.starts_with(name))), "the host's leaked in: {lines:?}");
}

#[test]
fn the_working_folder_can_be_chosen() {
    assert_eq!(vm().exec_with("--workdir /tmp", "pwd").run().ok(), "/tmp");
    let made = vm().exec_with("--workdir /not/there/yet", "pwd").run();
    assert_eq!(made.ok(), "/not/there/yet", "it is made, as container engines do");
    vm().exec_with("--workdir /etc/passwd", "pwd").run().fails_with(&["/etc/passwd"]);
}

#[test]
fn the_user_can_be_chosen_by_name_or_number() {
    assert_eq!(vm().exec("id -u").run().ok(), "0");
    let id = vm().exec_with("--user dev", "id").run();
    for part in ["uid=1000(dev)", "gid=1000(dev)", "2000(extra)"] {
        assert!(id.ok().contains(part), "{id}");
    }
    assert_eq!(vm().exec_with("--user dev", "sh -c").arg("echo $HOME").run().ok(), "/home/dev");
    assert_eq!(vm().exec_with("--user 1234:5678", "sh -c").arg("id -u; id -g").run().ok(), "1234\n5678");
    assert_eq!(vm().exec_with("--user dev:extra", "id -g").run().ok(), "2000");
    vm().exec_with("--user nobody-here", "true").run().fails_with(&["nobody-here"]);
    vm().exec_with("--user root:no-such-group", "true").run().fails_with(&["no-such-group"]);
}

#[test]
fn an_ordinary_user_of_the_guest_has_no_rights_of_root() {
    let output = vm().exec_with("--user dev", "cat /root/.seeded").run();
    assert!(!output.status.success() && output.stderr.contains("ermission denied"), "{output}");
    assert_eq!(
        vm().exec_with("--user dev", "sh -c").arg("grep CapEff /proc/self/status").run().ok(),
        "CapEff:\t0000000000000000"
    );
}

#[test]
fn many_commands_at_once_keep_their_own_output_and_status() {
    let calls: Vec<_> = (0..30).map(|n| vm().sh(&format!("echo {n}; sleep 1; exit {n}")).start()).collect();
    for (n, call) in calls.into_iter().enumerate() {
        let output = call.wait();
        output.expect_status(i32::try_from(n).unwrap());
        assert_eq!(output.stdout, format!("{n}\n"));
    }
}

#[test]
fn a_background_process_does_not_hold_the_command_up() {
    // It keeps the streams open, as daemons started by hand do; the command itself has ended.
    let output = vm().sh("sleep 611 & echo started").run();
    assert_eq!(output.ok(), "started");
    vm().exec(&format!("kill {}", vm().wait_for_process("sleep 611"))).run().ok();
}

#[test]
fn a_client_that_dies_takes_its_command_with_it() {
    let mut call = vm().exec("sleep 612").start();
    vm().wait_for_process("sleep 612");
    assert!(call.is_running());
    processes::kill(call.pid());
    vm().wait_for_end_of("sleep 612");
}

#[test]
fn a_detached_command_outlives_its_client() {
    vm().exec_with("--detach", "sleep 613").run().ok();
    vm().wait_for_process("sleep 613");
    vm().exec(&format!("kill {}", vm().wait_for_process("sleep 613"))).run().ok();
}

#[test]
fn a_vm_that_is_not_there_or_not_running_is_named() {
    let sandbox = Sandbox::new();
    sandbox.banger("vm exec nobody -- true").run().expect_status(125).fails_with(&["nobody"]);
    sandbox.banger("vm create --name idle").run().ok();
    sandbox.banger("vm exec idle -- true").run().expect_status(125).fails_with(&["idle", "stopped"]);
}
