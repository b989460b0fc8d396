//! `kernel pull`.

use super::Cx;
use crate::{client::Route, error::CliError};
use banger_model::{
    KernelRef,
    api::{image::PullKernel, op::OpResult},
};
use clap::Args;
use hyper::Method;

/// Fetch a kernel of the catalog, so that VMs can boot it
///
/// `banger kernel list` shows what the catalog has.
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// Fetch the newest although the kernel is here
    #[arg(short, long)]
    force: bool,
    /// Which
    #[arg(value_name = "NAME")]
    kernel: KernelRef,
}

pub(super) async fn run(cx: &Cx<'_>, args: PullArgs) -> Result<(), CliError> {
    let request = PullKernel { kernel: args.kernel, force: args.force };
    let mut events = cx.client.operate(Method::POST, &Route::new(["kernels", "pull"]), Some(&request)).await?;
    tell(cx, cx.building().follow(&mut events).await?)
}

/// Prints the name of the kernel that an operation left.
pub(super) fn tell(cx: &Cx<'_>, result: Option<OpResult>) -> Result<(), CliError> {
    let Some(OpResult::Kernel(kernel)) = result else { return Err(CliError::NoResult { what: "the kernel" }) };
    if !cx.ui.json {
        cx.ui.print_line(kernel.name.as_str())?;
    }
    Ok(())
}
