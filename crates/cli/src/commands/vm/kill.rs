//! `vm kill`.

use super::{Cx, operate, verb};
use crate::error::CliError;
use banger_model::VmName;
use clap::Args;

/// End VMs at once, as if their power was cut
#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    /// Which
    #[arg(required = true, value_name = "VM")]
    vms: Vec<VmName>,
}

pub(super) async fn run(cx: &Cx<'_>, args: KillArgs) -> Result<u8, CliError> {
    operate(cx, &args.vms, cx.removing(), verb("kill"), |_, _| None).await
}
