//! The one place where every failure becomes an answer: a closed code, an HTTP status, and what people are told.

use super::code;
use crate::{
    db::DbError,
    guest::SessionError,
    host::{BootError, UsageError},
    op::Open,
    prepare::PrepareError,
    verbs::VerbError,
};
use axum::{
    http::{Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use banger_model::{
    OpId, VmName,
    api::{
        API_PREFIX, OP_HEADER, VERSION_HEADER,
        error::{ErrorBody, ErrorCode},
        vm::EndReason,
    },
    vm::Status,
};
use std::{error::Error, sync::Arc};

/// Anything that makes a request fail.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The request's own fault, found by whoever parses that part of it.
    #[error("the {part} of the request is not usable")]
    Request { part: &'static str, source: Box<dyn Error + Send + Sync> },
    /// No request came of a connection.
    #[error("what came is no request that can be answered")]
    Unreadable(#[from] Unreadable),
    #[error("the request's body is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("the request's body is {}, not application/json", got.as_deref().unwrap_or("without a content type"))]
    ContentType { got: Option<String> },
    #[error("there is nothing at {path}")]
    UnknownRoute { path: String },
    #[error("{path} does not take {method}")]
    WrongMethod { method: Method, path: String },
    #[error("this daemon speaks {} of the API, not {asked}", API_PREFIX.trim_start_matches('/'))]
    Version { asked: String },
    #[error("no operation {op} is open")]
    NoOperation { op: OpId },
    /// Two at a time could not be told apart.
    #[error(transparent)]
    OperationOpen(#[from] Open),
    #[error("{vm} has had no boot {asked}: its latest is {boots}")]
    NoBoot { vm: VmName, asked: u32, boots: u32 },
    #[error("{vm} has never been started")]
    NeverBooted { vm: VmName },
    #[error("{vm} is not running: it is {status}")]
    NotRunning { vm: VmName, status: Status },
    #[error("cannot read the log")]
    Log { source: std::io::Error },
    #[error("cannot read the console of {vm}")]
    Console { vm: VmName, source: std::io::Error },
    #[error("cannot tell what {vm} uses")]
    Stats { vm: VmName, source: UsageError },
    /// The agent of a running VM.
    #[error("cannot {what} in {vm}")]
    Guest { vm: VmName, what: &'static str, source: SessionError },
    /// The guest ended under what it was doing.
    #[error("{vm} ended while it was in use: {}", words(end))]
    Ended { vm: VmName, end: EndReason, console: Vec<String> },
    /// The guest may well go on.
    #[error("the connection to the agent in {vm} broke off")]
    Lost { vm: VmName },
    #[error("cannot copy {path} {way} {vm}: {reason}")]
    Copy { vm: VmName, path: String, way: &'static str, reason: String },
    /// A client that was upgraded does not speak the protocol.
    #[error("the client sent frames that are not usable")]
    Client { source: Box<dyn Error + Send + Sync> },
    #[error("the daemon is stopping")]
    ShuttingDown,
    #[error(transparent)]
    Verb(#[from] VerbError),
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Why a connection carries no request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("it comes from {}, and this daemon serves its own user alone", Peer(*uid))]
    Stranger { uid: Option<u32> },
    #[error("it is not HTTP/1.1")]
    NoHttp,
    #[error("it broke off before its head had come")]
    BrokeOff,
}

struct Peer(Option<u32>);

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(uid) => write!(f, "user {uid}"),
            None => f.write_str("a user that the system does not name"),
        }
    }
}

impl Failure {
    /// A part of the request that does not parse.
    pub(super) fn bad(part: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Request { part, source: source.into() }
    }

    /// Whether a verb had begun to change the host, or what is on record, when it failed.
    pub(super) fn after_effects(&self) -> bool {
        use VerbError::{Boot, Db, Host, LeftOver};
        matches!(self, Self::Verb(Host { .. } | Boot { .. } | LeftOver { .. } | Db(_)) | Self::Db(_))
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ContentType { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::WrongMethod { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoOperation { .. } | Self::NoBoot { .. } => StatusCode::NOT_FOUND,
            Self::OperationOpen(_) => StatusCode::CONFLICT,
            other => status_of(code::of(other)),
        }
    }

    /// The last lines of the guest's console, when it had a part in it.
    fn console(&self) -> &[String] {
        match self {
            Self::Ended { console, .. } => console,
            Self::Verb(VerbError::Boot { source, .. }) => match source {
                BootError::Panicked { console, .. }
                | BootError::VmmEnded { console, .. }
                | BootError::Silent { console, .. }
                | BootError::Configure { console, .. } => console,
                BootError::Cancelled(_) => &[],
            },
            _ => &[],
        }
    }

    /// What a program of ours that failed had to say.
    fn log(&self) -> &[String] {
        match self {
            Self::Verb(VerbError::Boot { source: BootError::VmmEnded { log, .. }, .. }) => log,
            _ => &[],
        }
    }

    fn vms(&self) -> Vec<VmName> {
        match self {
            Self::NoBoot { vm, .. }
            | Self::NeverBooted { vm }
            | Self::Stats { vm, .. }
            | Self::NotRunning { vm, .. }
            | Self::Console { vm, .. }
            | Self::Guest { vm, .. }
            | Self::Ended { vm, .. }
            | Self::Lost { vm }
            | Self::Copy { vm, .. } => vec![vm.clone()],
            Self::Verb(error) => match error {
                VerbError::NameTaken(name)
                | VerbError::Denied { name, .. }
                | VerbError::Choose { name, .. }
                | VerbError::Host { name, .. }
                | VerbError::Boot { name, .. }
                | VerbError::LeftOver { name, .. } => vec![name.clone()],
                VerbError::Prepare(PrepareError::InUse { vms, .. }) => vms.clone(),
                _ => Vec::new(),
            },
            Self::Prepare(PrepareError::InUse { vms, .. }) => vms.clone(),
            _ => Vec::new(),
        }
    }

    /// What to do, where it is known better than the code tells.
    fn fix(&self) -> Option<String> {
        Some(match self {
            Self::NotRunning { vm, status: Status::Stopped } => format!("start it: `banger vm start {vm}`"),
            Self::NeverBooted { vm } => format!("start it: `banger vm start {vm}`"),
            Self::Guest { source: SessionError::Frame(_), .. } => {
                "a command and its environment together may have 64 KiB: copy what is longer into the VM as a file"
                    .into()
            }
            Self::Verb(VerbError::Prepare(error)) | Self::Prepare(error) if error.is_of_a_file() => {
                "check the path, and that you may read what is there".into()
            }
            _ => return None,
        })
    }
}

/// Why a boot ended, as the end of a sentence.
pub(super) fn words(end: &EndReason) -> String {
    match end {
        EndReason::Stopped => "it was stopped".into(),
        EndReason::Killed => "it was killed".into(),
        EndReason::PoweredOff => "the guest powered itself off".into(),
        EndReason::Panicked { message } => format!("the guest's kernel panicked: {message}"),
        EndReason::NeverReady { message } => format!("it never became ready: {message}"),
        EndReason::Lost => "its VMM is gone".into(),
    }
}

/// What a client is told.
pub(crate) fn body_of(failure: &Failure, op: OpId) -> (StatusCode, ErrorBody) {
    let mut causes = causes(failure);
    causes.extend(failure.log().iter().cloned());
    let body = ErrorBody {
        code: code::of(failure),
        message: failure.to_string(),
        causes,
        fix: failure.fix(),
        op: Some(op),
        console: failure.console().to_vec(),
        vms: failure.vms(),
    };
    (failure.status(), body)
}

/// The whole answer to a connection that carries no request, as it goes over the wire. It is an operation of its own.
pub(crate) fn refuse(why: Unreadable) -> Vec<u8> {
    let op = crate::clock::new_op();
    let _span = tracing::info_span!("connection", %op).entered();
    let (status, body) = body_of(&Failure::from(why), op);
    log_refusal(&body);
    let json = serde_json::to_string(&body).unwrap_or_default();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\
         {OP_HEADER}: {op}\r\n{VERSION_HEADER}: {}\r\n\r\n{json}",
        json.len(),
        env!("CARGO_PKG_VERSION"),
    )
    .into_bytes()
}

/// Every refusal is logged as it is told.
pub(super) fn log_refusal(body: &ErrorBody) {
    tracing::warn!(code = ?body.code, error = body.message, causes = ?body.causes, "refused or failed");
}

/// Why, outermost cause first.
pub(super) fn causes(failure: &Failure) -> Vec<String> {
    let mut causes: Vec<String> = Vec::new();
    let mut next = failure.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        // Libraries often repeat what their own cause says.
        if !causes.last().is_some_and(|before| before.ends_with(&text)) {
            causes.push(text);
        }
        next = cause.source();
    }
    causes
}

fn status_of(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::BadRequest | ErrorCode::UnsupportedVersion => StatusCode::BAD_REQUEST,
        ErrorCode::Forbidden => StatusCode::FORBIDDEN,
        ErrorCode::UnknownRoute | ErrorCode::VmNotFound | ErrorCode::ImageNotFound | ErrorCode::KernelNotFound => {
            StatusCode::NOT_FOUND
        }
        ErrorCode::VmNameTaken
        | ErrorCode::VmStatus
        | ErrorCode::InUse
        | ErrorCode::NameTaken
        | ErrorCode::Cancelled => StatusCode::CONFLICT,
        ErrorCode::ImageInvalid
        | ErrorCode::KernelInvalid
        | ErrorCode::CommandNotFound
        | ErrorCode::CommandNotExecutable => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorCode::ImageUnavailable | ErrorCode::KernelUnavailable | ErrorCode::Guest => StatusCode::BAD_GATEWAY,
        ErrorCode::NoRoom => StatusCode::INSUFFICIENT_STORAGE,
        ErrorCode::HostUnfit | ErrorCode::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::VmmFailed | ErrorCode::BootFailed | ErrorCode::GuestPanic | ErrorCode::Internal => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

/// Rides on the response to the outermost layer, which knows the operation's id and writes the answer.
#[derive(Debug, Clone)]
pub(super) struct Unanswered(pub(super) Arc<Failure>);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(Unanswered(Arc::new(self)));
        response
    }
}

/// Whatever no route takes.
pub(super) async fn unknown_route(uri: Uri) -> Failure {
    let path = uri.path();
    let version = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let numbered = version.strip_prefix('v').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    match numbered && format!("/{version}") != API_PREFIX {
        true => Failure::Version { asked: shown(version) },
        false => Failure::UnknownRoute { path: shown(path) },
    }
}

/// A route, but not for that method.
pub(super) async fn wrong_method(method: Method, uri: Uri) -> Failure {
    Failure::WrongMethod { method, path: shown(uri.path()) }
}

/// A text of the client's, not longer than is of use.
fn shown(text: &str) -> String {
    text.chars().take(200).collect()
}
