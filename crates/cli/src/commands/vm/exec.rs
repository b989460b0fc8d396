//! `vm exec`.

use super::{Cx, in_vm};
use crate::{args::CommandArgs, error::CliError, exec::Command};
use banger_model::VmName;
use clap::Args;

/// Run a command in a VM
///
/// Standard input, output and error are the command's, and its exit status is banger's: 128 + n after signal n, 126 when it
/// cannot be executed, 127 when there is none of that name, and 125 when it was banger that failed. When banger ends, the
/// command ends with it. A command gets a terminal when all three streams are one.
#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// Start the command, and leave it running when banger ends
    #[arg(short, long, conflicts_with_all = ["tty", "no_tty"])]
    detach: bool,
    #[command(flatten)]
    how: CommandArgs,
    /// In which
    vm: VmName,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    command: Vec<String>,
}

pub(super) async fn run(cx: &Cx<'_>, args: ExecArgs) -> Result<u8, CliError> {
    let command = Command { detach: args.detach, ..args.how.command(args.command) };
    in_vm(cx, &args.vm, command).await
}
