//! `vm stop`.

use super::{Cx, operate, verb};
use crate::error::CliError;
use banger_model::VmName;
use clap::Args;

/// Shut VMs down in order
///
/// A VM that does not end by itself within a while is ended.
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// Which
    #[arg(required = true, value_name = "VM")]
    vms: Vec<VmName>,
}

pub(super) async fn run(cx: &Cx<'_>, args: StopArgs) -> Result<u8, CliError> {
    operate(cx, &args.vms, cx.removing(), verb("stop"), |_, _| None).await
}
