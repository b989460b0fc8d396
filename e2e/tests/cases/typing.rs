//! A person at a terminal: a shell, its size, Ctrl-C, and the end of it.

use crate::shared::{sandbox, vm};
use banger_e2e::{Sandbox, processes, terminal::Terminal};
use rustix::process::Signal;

#[test]
fn a_shell_has_a_terminal_that_follows_the_size_of_ours() {
    let mut terminal = Terminal::open(sandbox().banger("vm shell shared"));
    terminal.types("stty size; echo ready-$((1+1))\n");
    terminal.shows("ready-2");
    terminal.shows("24 80");
    terminal.resize(101, 33);
    terminal.types("sleep 1; stty size; echo again-$((1+1))\n");
    terminal.shows("again-2");
    terminal.shows("33 101");
    terminal.types("exit 5\n");
    assert_eq!(terminal.ends().code(), Some(5));
}

#[test]
fn ctrl_c_reaches_the_process_group_in_the_guest_and_not_the_shell() {
    let mut terminal = Terminal::open(sandbox().banger("vm shell shared"));
    terminal.types("sleep 614\n");
    vm().wait_for_process("sleep 614");
    terminal.types("\x03");
    terminal.types("echo status-$?\n");
    terminal.shows("status-130");
    terminal.types("exit\n");
    terminal.ends();
}

#[test]
fn ctrl_c_without_a_terminal_in_the_guest_ends_the_command_there() {
    let call = vm().exec_with("--no-tty", "sh -c").arg("trap 'echo caught; exit 9' INT; sleep 615 & wait");
    let mut terminal = Terminal::open(call);
    vm().wait_for_process("sleep 615");
    terminal.types("\x03");
    assert_eq!(terminal.ends().code(), Some(9), "{}", terminal.shown());
}

#[test]
fn an_interrupt_of_a_client_with_pipes_reaches_the_whole_process_group_in_the_guest() {
    // The shell obeys its trap only when its child has ended, so the child has to be reached as well.
    let call = vm().sh("trap 'echo caught; exit 9' INT; sleep 618; echo not reached").start();
    vm().wait_for_process("sleep 618");
    processes::signal(call.pid(), Signal::INT);
    let output = call.wait();
    output.expect_status(9);
    assert_eq!(output.stdout, "caught\n");
    assert_eq!(vm().process("sleep 618"), None);
}

#[test]
fn run_gives_a_shell_when_there_is_no_command() {
    let sandbox = Sandbox::new();
    let mut terminal = Terminal::open(sandbox.banger("vm run --rm --name box"));
    terminal.types("echo here-$((40+2))\n");
    terminal.shows("here-42");
    terminal.types("exit\n");
    assert!(terminal.ends().success(), "{}", terminal.shown());
    sandbox.assert_no_vm_left();
}

#[test]
fn a_terminal_that_closes_ends_the_shell_in_the_guest() {
    let mut terminal = Terminal::open(sandbox().banger("vm shell shared"));
    terminal.types("exec sleep 616\n");
    vm().wait_for_process("sleep 616");
    drop(terminal);
    vm().wait_for_end_of("sleep 616");
}

#[test]
fn a_shell_without_a_terminal_reads_its_script_from_stdin() {
    let output = sandbox().banger("vm shell shared").stdin("echo out; echo err >&2; exit 3\n").run();
    output.expect_status(3);
    assert_eq!((output.stdout.trim(), output.stderr.trim()), ("out", "err"));
}
