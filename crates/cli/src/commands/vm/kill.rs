//! `vm kill`.

use super::{Cx, several, verb};
use crate::error::CliError;
use banger_model::VmName;
use clap::Args;
use hyper::Method;

/// End VMs at once, as if their power was cut
#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    /// Which
    #[arg(required = true, value_name = "VM")]
    vms: Vec<VmName>,
}

pub(super) async fn run(cx: &Cx<'_>, args: KillArgs) -> Result<u8, CliError> {
    several::operate(cx, &args.vms, cx.removing(), Method::POST, verb("kill"), |_, _| None).await
}
