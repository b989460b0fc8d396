//! `vm shell`.

use super::{Cx, in_vm};
use crate::{args::CommandArgs, error::CliError};
use banger_model::VmName;
use clap::Args;

/// Open a shell in a VM
///
/// It is the login shell of the user. What is piped into it is run as a script. Its exit status is banger's, as with
/// `vm exec`.
#[derive(Debug, Args)]
pub(crate) struct ShellArgs {
    #[command(flatten)]
    how: CommandArgs,
    /// In which
    vm: VmName,
}

pub(super) async fn run(cx: &Cx<'_>, args: ShellArgs) -> Result<u8, CliError> {
    in_vm(cx, &args.vm, args.how.command(Vec::new())).await
}
