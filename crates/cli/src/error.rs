//! The one place that tells people what went wrong: what happened, why, what to do, the operation's id, and the exit
//! status. Every verb returns a [`CliError`]; nobody else prints one.

pub(crate) mod names;

use crate::{
    args::wants_json,
    client::{ClientError, StartError},
    copy::CopyError,
    exec::ExecError,
    output::{
        OutputError, Ui, clean,
        style::{Style, Tone},
    },
};
use banger_model::{
    OpId, VmName,
    api::error::{ErrorBody, ErrorCode},
    wire::guest::Refusal,
};
use serde::Serialize;
use std::{ffi::OsStr, ffi::OsString, io, path::PathBuf, time::Duration};

/// Whatever ends a verb before it is done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The daemon could not be spoken to, or refused.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// An operation failed; its last event said so.
    #[error("{}", .0.message)]
    Operation(Box<ErrorBody>),
    /// A command's stream.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// Copying files.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// Standard output.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The user pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// A word of the command line that does not fit, found after parsing.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// The async runtime, a terminal or a signal handler could not be had.
    #[error("cannot set up {what}")]
    Setup {
        /// Which.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// An operation succeeded but did not say what it left.
    #[error("the daemon does not say what became of {what}")]
    NoResult {
        /// Of what.
        what: &'static str,
    },
    /// A daemon said that it would end, and does not.
    #[error("the daemon (process {pid}) is still there {} s after it said that it would end", waited.as_secs())]
    DaemonStays {
        /// Its process.
        pid: u32,
        /// For how long we waited.
        waited: Duration,
    },
    /// Any of these, of an operation that the daemon has named before.
    #[error("{error}")]
    Of {
        /// Which operation.
        op: OpId,
        /// What happened to it.
        error: Box<Self>,
    },
    /// A manual page.
    #[error("cannot write manual pages to {}", dir.display())]
    Man {
        /// Where to.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The command line asks for something that makes no sense.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UsageError {
    /// Neither side of a copy is in a VM.
    #[error("neither {from:?} nor {to:?} is in a VM")]
    CopyWithoutVm {
        /// The source.
        from: String,
        /// The destination.
        to: String,
    },
    /// Both sides of a copy are in VMs.
    #[error("{from:?} and {to:?} are both in VMs")]
    CopyBetweenVms {
        /// The source.
        from: String,
        /// The destination.
        to: String,
    },
    /// A path in a VM that is not absolute.
    #[error("{path:?}: a path in a VM must begin with a slash")]
    RelativeGuestPath {
        /// The path.
        path: String,
    },
    /// A tar would go to a terminal.
    #[error("refusing to write a tar to a terminal")]
    TarToTerminal,
    /// A tar would come from a terminal.
    #[error("refusing to read a tar from a terminal")]
    TarFromTerminal,
    /// An import of something that is to be fetched.
    #[error("{image} is no file or folder of this host")]
    ImportNotLocal {
        /// What was to be imported.
        image: String,
    },
    /// Nobody can be asked whether that is meant.
    #[error("there is no terminal to ask on whether {what} should be deleted")]
    NobodyToAsk {
        /// What would go.
        what: String,
    },
    /// An operation of which no log has a line.
    #[error("nothing is logged of {op}")]
    NothingLogged {
        /// The operation.
        op: OpId,
    },
    /// A local path cannot be made absolute.
    #[error("cannot tell where {} is", path.display())]
    NoSuchPlace {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What our own failures are numbered like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Realm {
    /// Ordinary verbs.
    Verb,
    /// Verbs whose exit status is a guest command's, as container engines number them.
    Command,
}

impl Realm {
    /// Told from words that do not parse.
    fn of_words(words: &[impl AsRef<OsStr>]) -> Self {
        let words = words.iter().skip(1).map(AsRef::as_ref);
        let mut verbs = words.filter(|word| !word.as_encoded_bytes().starts_with(b"-"));
        match (verbs.next(), verbs.next().and_then(OsStr::to_str)) {
            (Some(vm), Some("run" | "exec" | "shell")) if vm == "vm" => Self::Command,
            _ => Self::Verb,
        }
    }

    /// The status of a failure of ours.
    pub(crate) fn failure(self) -> u8 {
        match self {
            Self::Verb => 1,
            Self::Command => 125,
        }
    }

    /// The status of a command line that makes no sense.
    pub(crate) fn misuse(self) -> u8 {
        match self {
            Self::Verb => 2,
            Self::Command => 125,
        }
    }
}

const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;
/// As a shell reports what SIGINT ended.
const INTERRUPTED: u8 = 130;
/// As a shell reports what SIGPIPE ended.
const PIPE_CLOSED: u8 = 141;

/// A failure in the words of this page. Pure: made from an error, rendered to text or JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub(crate) struct Report {
    /// Its kind; `client` for what never reached the daemon.
    code: serde_json::Value,
    message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    causes: Vec<String>,
    #[serde(rename = "fix", skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    op: Option<OpId>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    console: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    vms: Vec<VmName>,
}

impl CliError {
    /// The exit status.
    pub(crate) fn status(&self, realm: Realm) -> u8 {
        match self {
            Self::Of { error, .. } => error.status(realm),
            Self::Interrupted => INTERRUPTED,
            Self::Output(OutputError::Closed) | Self::Exec(ExecError::OutputClosed) => PIPE_CLOSED,
            Self::Exec(ExecError::Left(signal)) => 128u8.saturating_add(*signal),
            Self::Exec(ExecError::Refused(refusal)) => refused(refusal).unwrap_or(realm.failure()),
            Self::Client(ClientError::Api(body)) | Self::Operation(body) if realm == Realm::Command => {
                match body.code {
                    ErrorCode::CommandNotFound => NOT_FOUND,
                    ErrorCode::CommandNotExecutable => NOT_EXECUTABLE,
                    _ => realm.failure(),
                }
            }
            Self::Usage(_) => realm.misuse(),
            _ => realm.failure(),
        }
    }

    /// What there is to say, or nothing where silence is right.
    pub(crate) fn report(&self) -> Option<Report> {
        match self {
            Self::Of { op, error } => error.report().map(|report| Report { op: report.op.or(Some(*op)), ..report }),
            Self::Output(OutputError::Closed) | Self::Interrupted => None,
            Self::Exec(ExecError::OutputClosed | ExecError::Left(_)) => None,
            Self::Client(ClientError::Api(body)) | Self::Operation(body) => Some(Report::of_daemon(body)),
            other => Some(Report {
                code: "client".into(),
                message: other.to_string(),
                causes: causes(other),
                hint: other.own_hint(),
                op: None,
                console: Vec::new(),
                vms: Vec::new(),
            }),
        }
    }

    /// Whether its JSON went out already, as the last event of its operation.
    pub(crate) fn was_an_event(&self) -> bool {
        match self {
            Self::Of { error, .. } => error.was_an_event(),
            other => matches!(other, Self::Operation(_)),
        }
    }

    /// Its kind, when the daemon told it.
    pub(crate) fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Of { error, .. } => error.code(),
            Self::Client(ClientError::Api(body)) | Self::Operation(body) => Some(body.code),
            _ => None,
        }
    }

    /// As a failure of that operation, if it is known.
    pub(crate) fn of(self, op: Option<OpId>) -> Self {
        match op {
            Some(op) => Self::Of { op, error: Box::new(self) },
            None => self,
        }
    }

    /// With what to do about it, unless the daemon knows that.
    pub(crate) fn or_fix(mut self, fix: impl FnOnce() -> String) -> Self {
        if let Self::Of { op, error } = self {
            return error.or_fix(fix).of(Some(op));
        }
        if let Self::Client(ClientError::Api(body)) | Self::Operation(body) = &mut self {
            body.fix.get_or_insert_with(fix);
        }
        self
    }

    fn own_hint(&self) -> Option<String> {
        Some(match self {
            Self::Client(ClientError::NotRunning { .. }) => {
                "any verb that needs the daemon starts it, for example `banger vm list`".into()
            }
            Self::Client(ClientError::Start(StartError::Run { source, .. }))
                if source.kind() == io::ErrorKind::NotFound =>
            {
                "install `bangerd` beside `banger`, or put it on the PATH".into()
            }
            Self::Client(ClientError::Start(StartError::Late)) => {
                "end whatever `bangerd start` waits for, then try again".into()
            }
            Self::Client(ClientError::Connect { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
                OTHERS_DAEMON.into()
            }
            Self::Client(ClientError::NoHome(_)) => "set HOME".into(),
            Self::Client(ClientError::Lost(_) | ClientError::BrokeOff(_) | ClientError::NoEnd { .. }) => {
                "the daemon has gone or was stopped; VMs that ran go on running: see `banger vm list`".into()
            }
            Self::Client(ClientError::Strange { .. } | ClientError::Status { .. }) => OTHER_VERSION.into(),
            Self::Exec(ExecError::Frames(_) | ExecError::Peer(_)) => OTHER_VERSION.into(),
            Self::Usage(UsageError::CopyWithoutVm { .. }) => {
                "write one side as VM:/PATH, for example `banger vm cp box:/etc/hosts .`".into()
            }
            Self::Usage(UsageError::CopyBetweenVms { .. }) => {
                "pipe one copy into another: `banger vm cp a:/x - | banger vm cp - b:/x`".into()
            }
            Self::NoResult { .. } => OTHER_VERSION.into(),
            Self::DaemonStays { pid, .. } => {
                format!("its log may tell why; `kill -9 {pid}` ends it, and VMs go on running")
            }
            Self::Exec(ExecError::Lost(_)) => "the daemon has gone or was stopped, and the command with it".into(),
            Self::Usage(UsageError::NobodyToAsk { .. }) => "add `--force` to delete without a question".into(),
            Self::Usage(UsageError::NothingLogged { .. }) => {
                "logs are bounded, and forget the oldest; `banger daemon status` names the daemon's".into()
            }
            Self::Usage(UsageError::ImportNotLocal { image }) => format!("fetch it with `banger image pull {image}`"),
            Self::Usage(UsageError::TarFromTerminal) => "redirect standard input from a file or a pipe".into(),
            Self::Usage(UsageError::TarToTerminal) => "redirect standard output to a file or a pipe".into(),
            _ => return None,
        })
    }
}

const OTHERS_DAEMON: &str = "the socket belongs to another user: check HOME and XDG_RUNTIME_DIR";
const OTHER_VERSION: &str =
    "the daemon may be of another version: run `banger daemon stop` and try again (VMs go on running)";

/// The statuses that shells and container engines use; none for refusals that are not about the program.
fn refused(refusal: &Refusal) -> Option<u8> {
    match refusal {
        Refusal::NotFound { .. } => Some(NOT_FOUND),
        Refusal::NotExecutable { .. } => Some(NOT_EXECUTABLE),
        Refusal::UnknownUser { .. } | Refusal::Workdir { .. } | Refusal::Path { .. } | Refusal::Failed { .. } => None,
    }
}

fn causes(error: &dyn std::error::Error) -> Vec<String> {
    std::iter::successors(error.source(), |cause| cause.source()).map(ToString::to_string).collect()
}

impl Report {
    fn of_daemon(body: &ErrorBody) -> Self {
        Self {
            code: serde_json::to_value(body.code).unwrap_or_default(),
            message: body.message.clone(),
            causes: body.causes.clone(),
            hint: body.fix.clone().or_else(|| hint(body)),
            op: body.op,
            console: body.console.clone(),
            vms: body.vms.clone(),
        }
    }

    /// What happened.
    pub(crate) fn message(&self) -> String {
        clean::line(&self.message)
    }

    /// For people.
    pub(crate) fn render(&self, style: Style) -> String {
        let mut text = format!("{} {}", style.paint(Tone::Error, "error:"), clean::line(&self.message));
        if let Some(op) = self.op {
            text.push_str(&style.paint(Tone::Dim, &format!(" ({op})")));
        }
        for cause in &self.causes {
            let cause = clean::lines(cause.trim_end()).replace('\n', "\n    ");
            text.push_str(&format!("\n  {} {cause}", style.paint(Tone::Dim, "caused by:")));
        }
        if !self.console.is_empty() {
            text.push_str(&format!("\n  {}", style.paint(Tone::Dim, "the guest's console ended with:")));
            for line in &self.console {
                text.push_str(format!("\n    | {}", clean::line(line)).trim_end());
            }
        }
        if let Some(hint) = &self.hint {
            text.push_str(&format!("\n\n{} {}", style.paint(Tone::Hint, "hint:"), clean::line(hint)));
        }
        text
    }

    /// For programs: an event like any operation's last.
    pub(crate) fn event(&self) -> serde_json::Value {
        serde_json::json!({ "event": "failed", "error": self })
    }
}

/// Tells the user what went wrong. `label` is what it is about, when several things are done.
pub(crate) fn tell(ui: &Ui, error: &CliError, label: Option<&str>) {
    let Some(report) = error.report() else { return };
    if !ui.json {
        let text = report.render(ui.err);
        return ui.talk(&match label {
            Some(label) => format!("{label}: {text}"),
            None => text,
        });
    }
    if !error.was_an_event() {
        let mut event = report.event();
        if let Some(label) = label {
            event["name"] = label.into();
        }
        // Whoever closed our output has no use for this either.
        let _ = ui.print_json(&event);
    }
}

/// Tells the user that the command line does not parse, or what it asked for: help or the version. Returns the exit status.
pub(crate) fn misuse(error: &clap::Error, words: &[OsString]) -> u8 {
    if !error.use_stderr() {
        // A reader that has gone has seen enough.
        let _ = error.print();
        return 0;
    }
    if wants_json(words) {
        let text = error.render().to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        let report = Report { code: "usage".into(), message: message.into(), ..Report::default() };
        let _ = Ui::new(true, false, false).print_json(&report.event());
    } else {
        let _ = error.print();
    }
    Realm::of_words(words).misuse()
}

/// What to do about a failure when the daemon knows nothing better than its kind.
fn hint(body: &ErrorBody) -> Option<String> {
    let names = body.vms.iter().map(VmName::as_str).collect::<Vec<_>>().join(" ");
    let logs = || match body.vms.first() {
        Some(vm) => format!("read its console with `banger vm logs {vm}`"),
        None => "check this host with `banger doctor`".to_owned(),
    };
    Some(match body.code {
        ErrorCode::UnknownRoute | ErrorCode::UnsupportedVersion => OTHER_VERSION.into(),
        ErrorCode::Forbidden => OTHERS_DAEMON.into(),
        ErrorCode::VmNotFound => "see which VMs there are with `banger vm list`".into(),
        ErrorCode::VmNameTaken => "choose another name with `--name`, or delete that VM".into(),
        ErrorCode::VmStatus => match body.vms.first() {
            Some(vm) => format!("see what it is doing with `banger vm show {vm}`"),
            None => "see what it is doing with `banger vm list`".into(),
        },
        ErrorCode::ImageNotFound => "check its name; `banger image list` shows which images are here".into(),
        ErrorCode::ImageUnavailable | ErrorCode::KernelUnavailable => {
            "check that its source can be reached from this host, then try again".into()
        }
        ErrorCode::InUse if !names.is_empty() => format!("delete what uses it first: `banger vm delete {names}`"),
        ErrorCode::KernelNotFound => "see which kernels there are with `banger kernel list`".into(),
        ErrorCode::NameTaken => "choose another name, or delete what has it".into(),
        ErrorCode::HostUnfit => "see what this host lacks with `banger doctor`".into(),
        ErrorCode::NoRoom => "free some, or ask for less with `--memory` or `--disk-size`".into(),
        ErrorCode::VmmFailed | ErrorCode::BootFailed | ErrorCode::GuestPanic => logs(),
        ErrorCode::ShuttingDown => "try again in a moment".into(),
        ErrorCode::Internal => match body.op {
            Some(op) => format!("this is a defect of banger: please report it with what `banger debug {op}` prints"),
            None => "this is a defect of banger: please report it".into(),
        },
        ErrorCode::ImageInvalid => "the image itself is at fault: have it built or sent again, or use another".into(),
        ErrorCode::KernelInvalid => {
            "use a bzImage or an ELF vmlinux for this processor, as distributions ship it, and the modules of just that kernel"
                .into()
        }
        ErrorCode::Guest if !names.is_empty() => logs(),
        ErrorCode::BadRequest
        | ErrorCode::Guest
        | ErrorCode::InUse
        | ErrorCode::CommandNotFound
        | ErrorCode::CommandNotExecutable
        | ErrorCode::Cancelled => return None,
    })
}

#[cfg(test)]
mod tests;
