//! `vm restart`.

use super::{Cx, operate, verb};
use crate::error::CliError;
use banger_model::VmName;
use clap::Args;

/// Shut VMs down in order and boot them again
#[derive(Debug, Args)]
pub(crate) struct RestartArgs {
    /// Which
    #[arg(required = true, value_name = "VM")]
    vms: Vec<VmName>,
}

pub(super) async fn run(cx: &Cx<'_>, args: RestartArgs) -> Result<u8, CliError> {
    operate(cx, &args.vms, cx.building(), verb("restart"), |_, _| None).await
}
