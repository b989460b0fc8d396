//! `vm start`.

use super::{Cx, operate, verb};
use crate::error::CliError;
use banger_model::VmName;
use clap::Args;

/// Boot VMs that are stopped
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// Which
    #[arg(required = true, value_name = "VM")]
    vms: Vec<VmName>,
}

pub(super) async fn run(cx: &Cx<'_>, args: StartArgs) -> Result<u8, CliError> {
    operate(cx, &args.vms, cx.building(), verb("start"), |_, _| None).await
}
