//! The filter between a VM's network interface and `passt`, one process for each VM: the guest has the internet and a
//! resolver, but never the host's loopback, link-local or own addresses.
//!
//! It connects to a Unix socket of QEMU's; `passt`, its child, carries what passes to the host's sockets. Must not touch: the
//! host's interfaces, any VM, any file.
//!
//! # How it is to be used
//!
//! Arguments: `args::USAGE`, all of them. stdin is not read. stdout: the line `ready` once frames move, and nothing else. stderr: its log, as text; when it fails, the last line says why.
//!
//! It serves one connection. It ends by itself, with status 0, when QEMU hangs up and on SIGTERM, SIGINT and SIGHUP; with
//! status 1 when it cannot do its work (no QEMU, `passt` missing or ended, a bad stream), and with 2 when its arguments are
//! wrong. Its starter may end at any time. However it ends, SIGKILL included, `passt` ends with it. Then the guest goes on
//! without a network, until another one of us connects to its QEMU.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod answer;
mod args;
mod filter;
mod host_addresses;
mod lane;
mod network;
mod packet;
mod passt;
mod probe;
mod relay;
mod sandbox;
mod serve;
mod signals;
mod tally;

use args::Args;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args_os().skip(1)) {
        Ok(args) => args,
        Err(error) => return fail(&error, 2),
    };
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false).init();
    let span = tracing::info_span!("usernet", vm = %args.vm, op = %args.op);
    let served = span.in_scope(|| serve::serve(&args));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, 1),
    }
}

/// The error and its causes as the last line of the log.
fn fail(error: &dyn std::error::Error, status: u8) -> ExitCode {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    // Nobody is left to be told if this fails.
    let _ = writeln!(std::io::stderr(), "{line}");
    ExitCode::from(status)
}
