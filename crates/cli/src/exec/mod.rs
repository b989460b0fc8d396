//! Being a command's stdin, stdout, stderr and terminal.
//!
//! Owns: the three byte streams of one command in a VM, from our own descriptors to the frames of
//! [`banger_model::wire`] and back, signals and the terminal's mode. Must not: know how a connection comes about, or say
//! anything of its own.
//!
//! Threads: one reads stdin ([`input`]), one writes each of stdout and stderr ([`output`]), because these descriptors can
//! block and are shared with other processes, so they cannot be made non-blocking. The session between them is one task.

mod input;
mod output;
mod session;
mod signals;
mod terminal;

pub(crate) use terminal::TtyWish;

use crate::{client::Client, error::CliError, output::Ui};
use banger_model::{
    VmName,
    api::exec::ExecRequest,
    wire::{
        DecodeError,
        guest::{ExitStatus, Refusal},
    },
};
use input::Input;
use output::Outputs;
use session::Ends;
use std::io;
use terminal::Terminal;

/// A command could not be carried through.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExecError {
    /// The guest did not start it.
    #[error("{0}")]
    Refused(Refusal),
    /// Nobody reads our output any more.
    #[error("standard output is closed")]
    OutputClosed,
    /// Our output cannot be written.
    #[error("cannot write the command's output")]
    Output(#[source] io::Error),
    /// Our stdin cannot be read.
    #[error("cannot read standard input")]
    Input(#[source] io::Error),
    /// The user, or whoever sent us a signal, does not want to wait for the command.
    #[error("left the command because of signal {0}")]
    Left(u8),
    /// The connection ended before the command did.
    #[error("lost the connection to the command")]
    Lost(#[source] Option<io::Error>),
    /// Bytes that are no frames.
    #[error("cannot make sense of what the daemon sent")]
    Frames(#[source] DecodeError),
    /// Frames that make no sense.
    #[error("the daemon broke the protocol: {0}")]
    Peer(&'static str),
}

/// What to run, and how.
#[derive(Debug, Clone, Default)]
pub(crate) struct Command {
    /// Empty: a login shell.
    pub(crate) argv: Vec<String>,
    /// `NAME=VALUE`.
    pub(crate) env: Vec<String>,
    pub(crate) workdir: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) tty: TtyWish,
    /// Start it and leave it.
    pub(crate) detach: bool,
}

/// Runs a command in a VM with our own stdin, stdout and stderr.
///
/// # Errors
/// When there is no exit status to pass on. The terminal has its old mode again in any case.
pub(crate) async fn run(ui: &Ui, client: &Client<'_>, vm: &VmName, command: Command) -> Result<ExitStatus, CliError> {
    let setup = |what| move |source| CliError::Setup { what, source };
    let terminal = match command.detach || ui.json {
        true => None,
        false => Terminal::wanted(command.tty).map_err(setup("the terminal"))?,
    };
    let request = request(command, terminal.as_ref());
    let (detach, no_stdin) = (request.detach, request.no_stdin);
    // Before anything runs: a signal that comes early must reach the command, not be lost.
    let mut signals = signals::listen(terminal.as_ref()).map_err(setup("the handling of signals"))?;
    let exec = tokio::select! {
        exec = client.exec(vm, &request) => exec?,
        signal = signals.insist() => return Err(ExecError::Left(signal).into()),
    };
    // Only now: until here, Ctrl-C is for us.
    let _raw = terminal.as_ref().map(Terminal::raw).transpose().map_err(setup("the terminal"))?;
    let input = match detach || no_stdin {
        true => Input::empty(),
        false => Input::spawn(rustix::stdio::stdin()).map_err(setup("the reading of standard input"))?,
    };
    let outputs = match ui.json {
        true => Outputs::json(rustix::stdio::stdout()),
        false => Outputs::raw(rustix::stdio::stdout(), rustix::stdio::stderr()),
    };
    let ended = session::run(exec.stream, &exec.early, Ends { input, outputs, signals }).await;
    ended.map_err(|error| CliError::from(error).of(exec.op))
}

fn request(command: Command, terminal: Option<&Terminal>) -> ExecRequest {
    let Command { argv, mut env, workdir, user, detach, .. } = command;
    // The guest's programs speak to this very terminal.
    if terminal.is_some()
        && !env.iter().any(|variable| variable.starts_with("TERM="))
        && let Ok(term) = std::env::var("TERM")
    {
        env.insert(0, format!("TERM={term}"));
    }
    let no_stdin = terminal.is_none() && input::is_null(rustix::stdio::stdin());
    ExecRequest { argv, env, workdir, user, tty: terminal.map(Terminal::size), detach, no_stdin, stdin: String::new() }
}
