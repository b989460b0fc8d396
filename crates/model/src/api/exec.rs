//! Running commands in a VM.

use crate::wire::guest::{ExitStatus, TtySize};
use serde::{Deserialize, Serialize};

/// A command. With `Connection: upgrade` and `Upgrade: banger-exec/1` the answer is `101`, and the connection carries
/// [`crate::wire::Frame`]s on [`super::EXEC_CHANNEL`]: the daemon sends `Accept(Started)`, data, and `Exit` as the last, or
/// `Refuse` when the command was lost with its VM; the client sends stdin data, `Eof`, `Control` and credit. What can be
/// known before the command runs is an ordinary answer instead of the `101`. A client that closes the connection takes its
/// command with it, unless it was detached. Without the upgrade the answer is [`ExecEvent`]s, one JSON object a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ExecRequest {
    /// The program and its arguments. Empty: the user's login shell, else `/bin/sh`.
    pub argv: Vec<String>,
    /// `NAME=VALUE`, over the image's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// The working folder, instead of the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// `NAME|UID[:GROUP|GID]`, instead of the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// A terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tty: Option<TtySize>,
    /// Leave it running when the client goes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub detach: bool,
    /// The command reads nothing: its stdin is `/dev/null`. Its start is then told along with its first output or its end, if
    /// one of them comes soon.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_stdin: bool,
    /// Without the upgrade: all of stdin, in base64.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stdin: String,
}

/// One line of a command's output, for clients that do not upgrade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum ExecEvent {
    /// It runs, with this process id in the guest.
    Started(u32),
    /// Bytes of its stdout, in base64.
    Stdout(String),
    /// Bytes of its stderr, in base64.
    Stderr(String),
    /// It ended. Always last.
    Exit(ExitStatus),
    /// It was not started, or was lost. Always last.
    Failed(super::error::ErrorBody),
}
