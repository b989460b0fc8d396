//! Running commands: status, refusals, environment, users, terminals.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use banger_model::wire::guest::{Control, Exec, ExitStatus, Refusal, Request, Signal, TtySize};
use banger_model::wire::{Body, Stream};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};
use support::{Agent, eventually, exec, lives, sh, skipped_without_root};

#[test]
fn the_exit_is_the_commands() {
    let mut agent = Agent::start();
    for (line, status) in [
        ("exit 0", ExitStatus::Code(0)),
        ("exit 37", ExitStatus::Code(37)),
        ("exit 255", ExitStatus::Code(255)),
        ("kill -TERM $$", ExitStatus::Signal(15)),
        ("kill -KILL $$", ExitStatus::Signal(9)),
    ] {
        assert_eq!(agent.run(sh(line)).status, status, "{line}");
    }
}

#[test]
fn streams_are_apart() {
    let mut agent = Agent::start();
    let outcome = agent.run(sh("echo out; echo err >&2; cat"));
    assert_eq!((outcome.text(), outcome.stderr.as_slice()), ("out\n", &b"err\n"[..]));
}

#[test]
fn a_command_that_reads_nothing_finds_its_stdin_empty() {
    let mut agent = Agent::start();
    let outcome = agent.run(Exec { no_stdin: true, ..sh("readlink /proc/self/fd/0; cat; echo end") });
    assert_eq!(outcome.text(), "/dev/null\nend\n");
    let (channel, _) = agent.begin(Exec { no_stdin: true, ..sh("sleep 0.2; echo late") });
    // What a host sends of it all the same is nobody's.
    agent.write(channel, "unread");
    agent.send(channel, Body::Eof(Stream::Stdin));
    assert_eq!(agent.finish(channel).text(), "late\n");
}

#[test]
fn a_silent_command_that_reads_nothing_is_soon_told_to_run() {
    let mut agent = Agent::start();
    let (channel, pid) = agent.begin(Exec { no_stdin: true, ..sh("exec sleep 1000") });
    assert!(lives(pid), "it was told before its end");
    agent.send(channel, Body::Close);
    eventually(|| !lives(pid));
}

#[test]
fn what_cannot_run_is_refused_with_the_reason() {
    let mut agent = Agent::start();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let make = |name: &str, mode: u32, text: &str| {
        std::fs::write(path(name), text).unwrap();
        std::fs::set_permissions(path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    make("plain", 0o644, "#!/bin/sh\n");
    make("orphan", 0o755, "#!/no/such/shell -x\n");
    make("data", 0o755, "\0\0\0not a program");
    let mut refusal = |argv: &[&str]| agent.refusal(Request::Exec(exec(argv)));
    for name in ["no-such-program", "/no/such/program", ""] {
        assert!(matches!(refusal(&[name]), Refusal::NotFound { program } if program == name), "{name}");
    }
    for (name, reason) in [("plain", "permission"), ("orphan", "/no/such/shell"), ("data", "neither a program")] {
        match refusal(&[&path(name)]) {
            Refusal::NotExecutable { reason: said, .. } => assert!(said.contains(reason), "{said}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(refusal(&["/etc"]), Refusal::NotExecutable { reason, .. } if reason.contains("is a folder")));
    let nul = Exec { argv: vec!["true".into(), "a\0b".into()], ..Exec::default() };
    assert!(matches!(agent.refusal(Request::Exec(nul)), Refusal::Failed { .. }));
    let user = Exec { user: "nobody-of-that-name".into(), ..sh("true") };
    assert!(
        matches!(agent.refusal(Request::Exec(user)), Refusal::UnknownUser { user } if user == "nobody-of-that-name")
    );
    let workdir = Exec { workdir: path("plain"), ..sh("true") };
    assert!(matches!(agent.refusal(Request::Exec(workdir)), Refusal::Workdir { .. }));
    assert_eq!(agent.run(sh("exit 3")).status, ExitStatus::Code(3), "the session goes on");
}

#[test]
fn the_environment_is_what_was_asked_for_and_what_none_should_miss() {
    let mut agent = Agent::start();
    let asked = Exec { env: vec!["A=b c".into(), "HOME=/elsewhere".into()], ..exec(&["env"]) };
    let outcome = agent.run(asked);
    let mut lines: Vec<&str> = outcome.text().lines().collect();
    lines.sort_unstable();
    let user = lines.pop().unwrap();
    assert_eq!(
        lines,
        ["A=b c", "HOME=/elsewhere", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    );
    assert!(user.starts_with("USER="), "{user}");
    let narrow = Exec { env: vec!["PATH=/nowhere".into()], ..exec(&["env"]) };
    assert!(matches!(agent.refusal(Request::Exec(narrow)), Refusal::NotFound { .. }));
}

#[test]
fn without_a_command_it_is_a_login_shell() {
    let mut agent = Agent::start();
    let (channel, _) = agent.begin(exec(&[]));
    agent.write(channel, "echo $0; exit 12\n");
    let outcome = agent.finish(channel);
    assert!(outcome.text().trim_end().starts_with('-') && outcome.text().ends_with("sh\n"), "{:?}", outcome.text());
    assert_eq!(outcome.status, ExitStatus::Code(12));
}

#[test]
fn the_working_folder_is_made_when_missing() {
    let mut agent = Agent::start();
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("a/b/c").display().to_string();
    let outcome = agent.run(Exec { workdir: deep.clone(), ..exec(&["pwd"]) });
    assert_eq!(outcome.text().trim_end(), deep);
    assert_eq!(agent.run(exec(&["pwd"])).text(), "/\n");
}

#[test]
fn a_command_starts_clean() {
    let mut agent = Agent::start();
    let outcome =
        agent.run(sh("ls /proc/self/fd | wc -l; grep -E 'Sig(Blk|Ign)' /proc/self/status; umask; ulimit -Sn"));
    let lines: Vec<&str> = outcome.text().lines().collect();
    // Three streams and the folder that `ls` reads.
    assert_eq!(lines[0].trim(), "4");
    let set = |line: &str, name: &str| u64::from_str_radix(line.strip_prefix(name).unwrap().trim(), 16).unwrap();
    assert_eq!(set(lines[1], "SigBlk:"), 0);
    // 32 and 33 are the C library's own, and may come ignored from whoever runs the tests.
    assert_eq!(set(lines[2], "SigIgn:") & !(3 << 31), 0);
    assert_eq!(lines[3], "0022");
    assert!(lines[4].parse::<u64>().unwrap() <= 1024, "{}", lines[4]);
}

#[test]
fn needs_root_users_get_their_ids_and_groups() {
    if skipped_without_root("needs_root_users_get_their_ids_and_groups") {
        return;
    }
    let mut agent = Agent::start();
    let mut ids = |user: &str| {
        let outcome = agent.run(Exec { user: user.into(), ..sh("id -u; id -g; id -G; echo $HOME $USER") });
        outcome.text().replace('\n', " ").trim_end().to_owned()
    };
    assert_eq!(ids("4242:4343"), "4242 4343 4343 / 4242");
    assert_eq!(ids("4242"), "4242 0 0 / 4242");
    assert_eq!(ids("daemon"), "1 1 1 /usr/sbin daemon");
    assert_eq!(ids("daemon:root"), "1 0 0 /usr/sbin daemon");
}

#[test]
fn a_terminal_is_one_and_controls_jobs() {
    let mut agent = Agent::start();
    let tty = Some(TtySize { rows: 30, cols: 90 });
    let (channel, _) = agent.begin(Exec { tty, env: vec!["PS1=ready:".into()], ..exec(&["/bin/sh", "-i"]) });
    agent.read_until(channel, "ready:");
    agent.write(channel, "tty >/dev/null && stty size; echo $TERM\n");
    let seen = agent.read_until(channel, "xterm\r\nready:");
    assert!(seen.contains("30 90\r\n"), "{seen:?}");
    agent.send(channel, Body::Control(Control::Resize(TtySize { rows: 40, cols: 100 })));
    agent.write(channel, "stty size\n");
    agent.read_until(channel, "40 100\r\n");
    // Ctrl-C ends the job in the foreground, and not the shell. The job itself says when it is there.
    agent.write(channel, "sh -c 'echo g''o; exec sleep 1000'\n");
    agent.read_until(channel, "go\r\n");
    let start = Instant::now();
    agent.write(channel, "\u{3}");
    agent.read_until(channel, "ready:");
    agent.write(channel, "echo still here\n");
    agent.read_until(channel, "still here\r\n");
    assert!(start.elapsed() < Duration::from_secs(30));
    agent.write(channel, "exit 5\n");
    assert_eq!(agent.finish(channel).status, ExitStatus::Code(5));
}

#[test]
fn the_end_of_stdin_is_a_terminals_end_of_file() {
    let mut agent = Agent::start();
    let tty = Some(TtySize { rows: 24, cols: 80 });
    let (channel, _) = agent.begin(Exec { tty, ..sh("stty -echo; echo on; cat; echo done") });
    agent.read_until(channel, "on\r\n");
    agent.write(channel, "half a line");
    agent.send(channel, Body::Eof(Stream::Stdin));
    let outcome = agent.finish(channel);
    assert_eq!((outcome.text(), outcome.status), ("half a linedone\r\n", ExitStatus::Code(0)));
}

#[test]
fn all_that_a_terminal_shows_arrives() {
    let mut agent = Agent::start();
    let tty = Some(TtySize { rows: 24, cols: 80 });
    let outcome = agent.run(Exec { tty, ..sh("stty -opost; seq 1 20000; printf end") });
    let wanted: String = (1..=20_000).map(|n| format!("{n}\n")).collect::<String>() + "end";
    assert!(outcome.text() == wanted, "{} bytes of {}", outcome.stdout.len(), wanted.len());
}

#[test]
fn signals_reach_the_whole_group() {
    let mut agent = Agent::start();
    let inner = "trap 'echo inner; exit' TERM; echo up; while :; do sleep 0.02; done";
    let (channel, _) = agent.begin(Exec {
        env: vec![format!("INNER={inner}")],
        ..sh("trap 'echo outer' TERM; sh -c \"$INNER\" & wait; wait; exit 9")
    });
    agent.read_until(channel, "up\n");
    agent.send(channel, Body::Control(Control::Signal(Signal(15))));
    let outcome = agent.finish(channel);
    let mut lines: Vec<&str> = outcome.text().lines().collect();
    lines.sort_unstable();
    assert_eq!((lines, outcome.status), (vec!["inner", "outer"], ExitStatus::Code(9)));
    let (channel, _) = agent.begin(sh("sleep 1000; :"));
    for signal in [0, 65, 255, 9] {
        agent.send(channel, Body::Control(Control::Signal(Signal(signal))));
    }
    assert_eq!(agent.finish(channel).status, ExitStatus::Signal(9), "those that do not exist change nothing");
}

#[test]
fn closing_a_channel_kills_all_of_its_session() {
    let mut agent = Agent::start();
    // With a terminal the shell puts its job into a group of its own.
    let tty = Some(TtySize { rows: 24, cols: 80 });
    let (channel, pid) = agent.begin(Exec { tty, ..sh("set -m; sleep 1000 & echo $!; sleep 1000; :") });
    let job: u32 = agent.read_until(channel, "\r\n").trim().parse().unwrap();
    assert!(lives(pid) && lives(job));
    agent.send(channel, Body::Close);
    assert_eq!(agent.finish(channel).status, ExitStatus::Signal(9));
    eventually(|| !lives(pid) && !lives(job));
}

#[test]
fn a_command_ends_when_its_process_does_whoever_holds_its_pipes() {
    let mut agent = Agent::start();
    let start = Instant::now();
    let outcome = agent.run(sh("echo before; (trap '' PIPE; sleep 1000) & echo $!"));
    assert!(start.elapsed() < Duration::from_secs(20), "it waited for the process left behind");
    assert_eq!(outcome.status, ExitStatus::Code(0));
    let (before, left) = outcome.text().split_once('\n').unwrap();
    assert_eq!(before, "before");
    let left: u32 = left.trim().parse().unwrap();
    assert!(lives(left), "what a command leaves behind goes on");
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(left.cast_signed()).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
}

#[test]
fn what_is_written_right_behind_the_exit_counts() {
    let mut agent = Agent::start();
    let outcome = agent.run(sh("(sleep 0.05; echo late) & exit 4"));
    assert_eq!((outcome.text(), outcome.status), ("late\n", ExitStatus::Code(4)));
}

#[test]
fn a_detached_command_goes_on_without_its_host() {
    let mut agent = Agent::start();
    let folder = tempfile::tempdir().unwrap();
    let (gate, mark) = (folder.path().join("gate"), folder.path().join("mark"));
    let line = format!("until [ -e {} ]; do sleep 0.02; done; echo done > {}", gate.display(), mark.display());
    let (channel, pid) = agent.begin(Exec { detach: true, ..sh(&line) });
    assert_eq!(agent.finish(channel).status, ExitStatus::Code(0));
    agent.greet([8; 16]);
    assert!(lives(pid));
    std::fs::write(&gate, "").unwrap();
    eventually(|| std::fs::read_to_string(&mark).is_ok_and(|text| text == "done\n"));
}

#[test]
fn many_commands_run_at_once() {
    let mut agent = Agent::start();
    let channels: Vec<(u32, u32)> =
        (0..100).map(|n| (n, agent.open(Request::Exec(sh(&format!("read x; echo {n} $x; exit {n}")))))).collect();
    for (_, channel) in &channels {
        assert!(matches!(agent.next(*channel), Body::Accept(_)));
        agent.write(*channel, "word\n");
    }
    for (n, channel) in channels {
        let outcome = agent.finish(channel);
        assert_eq!(outcome.text(), format!("{n} word\n"));
        assert_eq!(outcome.status, ExitStatus::Code(u8::try_from(n).unwrap()));
    }
}
