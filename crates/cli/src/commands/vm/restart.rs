//! `vm restart`.

use super::{Cx, several, verb};
use crate::error::CliError;
use banger_model::VmName;
use clap::Args;
use hyper::Method;

/// Shut VMs down in order and boot them again
#[derive(Debug, Args)]
pub(crate) struct RestartArgs {
    /// Which
    #[arg(required = true, value_name = "VM")]
    vms: Vec<VmName>,
}

pub(super) async fn run(cx: &Cx<'_>, args: RestartArgs) -> Result<u8, CliError> {
    several::operate(cx, &args.vms, cx.building(), Method::POST, verb("restart"), |_, _| None).await
}
