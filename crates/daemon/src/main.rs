//! `bangerd`, the daemon: intent, decisions and orchestration. The only part of banger with state.
//!
//! Owns: the database of what users want ([`db`]), the verbs ([`verbs`]), bringing the host to what is on record
//! ([`reconcile`]) and the API's socket. Must not: touch the terminal, or need rights that its user does not have.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod api;
mod app;
mod boot_files;
mod clock;
mod config;
mod db;
mod doctor;
mod guest;
mod host;
mod host_facts;
mod leases;
mod lifecycle;
mod locks;
mod logbook;
mod memory;
mod op;
mod prepare;
mod reconcile;
mod resource;
mod room;
mod root;
mod search_path;
mod task;
mod verbs;

#[cfg(test)]
mod tests;

use app::App;
use clap::{Parser, Subcommand};
use lifecycle::StartError;
use std::{io::Write, process::ExitCode};

/// The daemon of banger. Clients start it when they need it.
#[derive(Debug, Parser)]
#[command(version, disable_help_subcommand = true)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a daemon in the background, unless one runs, and return once it answers.
    Start,
    /// Be the daemon, until SIGTERM or SIGINT. VMs go on without it.
    Run {
        /// In a session of its own, and without standard streams once it answers.
        #[arg(long, hide = true)]
        detached: bool,
    },
}

fn main() -> ExitCode {
    let ended = match Args::parse().command {
        Command::Start => lifecycle::start(),
        Command::Run { detached } => lifecycle::run(detached),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {}", verbs::chain(&error));
            match error {
                StartError::Instance(lifecycle::InstanceError::Taken { .. }) => ExitCode::from(lifecycle::EXIT_TAKEN),
                _ => ExitCode::FAILURE,
            }
        }
    }
}
