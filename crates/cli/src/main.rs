//! `banger`: a disposable Linux machine with one command.
//!
//! This program is for people: arguments, tables and JSON, progress, hints and exit codes. Every decision is the daemon's,
//! which it starts when none answers. One file a verb in [`commands`]; one place for failures, [`error`]; nothing but
//! [`output`] and [`exec`] writes to standard output and error.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod args;
mod client;
mod commands;
mod copy;
mod error;
mod exec;
mod operation;
mod output;

use args::Cli;
use clap::Parser;
use error::CliError;
use output::Ui;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(&words) {
        Ok(cli) => cli,
        Err(error) => return error::misuse(&error, &words).into(),
    };
    let ui = Ui::new(cli.global.json, cli.global.quiet, cli.global.verbose);
    let realm = cli.command.realm();
    let ended = runtime().and_then(|runtime| runtime.block_on(commands::run(&ui, cli.command)));
    match ended {
        Ok(status) => status.into(),
        Err(error) => {
            error::tell(&ui, &error, None);
            error.status(realm).into()
        }
    }
}

/// One thread is enough, and starts in no time.
fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|source| CliError::Setup { what: "the async runtime", source })
}
