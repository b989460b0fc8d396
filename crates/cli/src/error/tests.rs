//! What people read when something goes wrong, and with which exit status.

use super::*;
use banger_model::OpId;

fn body(code: ErrorCode) -> Box<ErrorBody> {
    Box::new(ErrorBody {
        code,
        message: "VM \"bxo\" does not exist".into(),
        causes: Vec::new(),
        fix: None,
        op: Some(OpId::from_entropy([5; 16])),
        console: Vec::new(),
        vms: Vec::new(),
    })
}

fn rendered(error: &CliError) -> String {
    error.report().unwrap().render(Style::PLAIN)
}

#[test]
fn a_failure_of_the_daemon_with_all_that_it_can_say() {
    let mut boot = body(ErrorCode::BootFailed);
    boot.message = "VM \"box\" did not become ready within 60 s".into();
    boot.causes = vec!["the agent in the guest did not answer".into(), "two\nlines".into()];
    boot.console = vec!["[    1.2] VFS: Cannot open root device".into(), "\x1b[2Jhostile".into()];
    boot.vms = vec!["box".parse().unwrap()];
    insta::assert_snapshot!(rendered(&CliError::Operation(boot)));
}

#[test]
fn failures_of_our_own() {
    let socket = PathBuf::from("/run/user/1000/banger/api.sock");
    let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
    let errors = [
        CliError::Client(ClientError::NotRunning { socket: socket.clone() }),
        CliError::Client(ClientError::Connect { socket, source: denied() }),
        CliError::Client(ClientError::Start(StartError::Late)),
        CliError::Exec(ExecError::Lost(None)),
        CliError::Exec(ExecError::Refused(Refusal::NotFound { program: "frob".into() })),
        CliError::Copy(CopyError::Hostile { entry: "../x".into(), reason: "it has `..` in its name" }),
        CliError::Usage(UsageError::CopyWithoutVm { from: "a".into(), to: "b".into() }),
        CliError::Man { dir: "/nowhere".into(), source: denied() },
    ];
    let all: Vec<String> = errors.iter().map(rendered).collect();
    insta::assert_snapshot!(all.join("\n\n---\n\n"));
}

/// One that the daemon did not tell belongs to the operation that it had named by then.
#[test]
fn a_failure_of_our_own_names_the_operation_that_was_under_way() {
    let op = OpId::from_entropy([6; 16]);
    let lost = || CliError::from(ExecError::Lost(None));
    let error = lost().of(Some(op));
    assert_eq!(rendered(&error), rendered(&lost()).replacen('\n', &format!(" ({op})\n"), 1));
    assert_eq!(error.status(Realm::Command), lost().status(Realm::Command));
    assert_eq!(CliError::Interrupted.of(Some(op)).report(), None);
    assert_eq!(lost().of(None).report(), lost().report());
    let of_daemon = CliError::Operation(body(ErrorCode::VmNotFound)).of(Some(op));
    assert_eq!(of_daemon.report(), CliError::Operation(body(ErrorCode::VmNotFound)).report(), "its own id stays");
    assert!(of_daemon.was_an_event() && of_daemon.code() == Some(ErrorCode::VmNotFound));
}

#[test]
fn as_json_an_error_is_an_event() {
    let report = CliError::Operation(body(ErrorCode::VmNotFound)).report().unwrap();
    insta::assert_snapshot!(report.event());
}

#[test]
fn exit_statuses() {
    let operation = |code| CliError::Operation(body(code));
    let refusal = |refusal| CliError::Exec(ExecError::Refused(refusal));
    let usage = || CliError::Usage(UsageError::TarToTerminal);
    for (error, verb, command) in [
        (operation(ErrorCode::VmNotFound), 1, 125),
        (operation(ErrorCode::CommandNotFound), 1, 127),
        (operation(ErrorCode::CommandNotExecutable), 1, 126),
        (refusal(Refusal::NotFound { program: "x".into() }), 127, 127),
        (refusal(Refusal::NotExecutable { program: "x".into(), reason: String::new() }), 126, 126),
        (refusal(Refusal::UnknownUser { user: "x".into() }), 1, 125),
        (CliError::Interrupted, 130, 130),
        (CliError::Exec(ExecError::Left(15)), 143, 143),
        (CliError::Exec(ExecError::OutputClosed), 141, 141),
        (CliError::Output(OutputError::Closed), 141, 141),
        (CliError::Exec(ExecError::Lost(None)), 1, 125),
        (usage(), 2, 125),
    ] {
        assert_eq!(error.status(Realm::Verb), verb, "{error:?}");
        assert_eq!(error.status(Realm::Command), command, "{error:?}");
    }
}

#[test]
fn where_silence_is_right() {
    for error in [CliError::Interrupted, CliError::Exec(ExecError::Left(2)), CliError::Output(OutputError::Closed)] {
        assert_eq!(error.report(), None);
    }
}

#[test]
fn the_realm_of_a_line_that_does_not_parse() {
    assert_eq!(Realm::of_words(&["banger", "--json", "vm", "run", "--bad"]), Realm::Command);
    assert_eq!(Realm::of_words(&["banger", "vm", "exec"]), Realm::Command);
    assert_eq!(Realm::of_words(&["banger", "vm", "list", "run"]), Realm::Verb);
    assert_eq!(Realm::of_words(&["banger", "image", "run"]), Realm::Verb);
    assert_eq!(Realm::of_words(&[""; 0]), Realm::Verb);
}
