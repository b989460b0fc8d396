//! `vm delete`.

use super::{Cx, operate};
use crate::{client::Route, error::CliError};
use banger_model::{VmName, api::error::ErrorCode};
use clap::Args;
use hyper::Method;

/// Delete VMs and all that is on their disks
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// Delete them even while they run
    #[arg(short, long)]
    force: bool,
    /// Which
    #[arg(required = true, value_name = "VM")]
    vms: Vec<VmName>,
}

pub(super) async fn run(cx: &Cx<'_>, args: DeleteArgs) -> Result<u8, CliError> {
    let force = if args.force { "true" } else { "false" };
    let request = |vm: &VmName| (Method::DELETE, Route::new(["vms", vm.as_str()]).query("force", force));
    let fix = |vm: &VmName, code| {
        let running = !args.force && code == ErrorCode::VmStatus;
        running.then(|| format!("stop it first, or delete it as it is with `banger vm delete --force {vm}`"))
    };
    operate(cx, &args.vms, cx.removing(), request, fix).await
}
