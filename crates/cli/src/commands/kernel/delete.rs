//! `kernel delete`.

use super::Cx;
use crate::{client::Route, commands::several, error::CliError};
use banger_model::KernelRef;
use clap::Args;
use hyper::Method;

/// Delete kernels that no VM needs
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// Which
    #[arg(required = true, value_name = "NAME")]
    kernels: Vec<KernelRef>,
}

pub(super) async fn run(cx: &Cx<'_>, args: DeleteArgs) -> Result<u8, CliError> {
    let route = |kernel: &KernelRef| Route::new(["kernels", kernel.as_str()]);
    let work = async |kernel: &KernelRef| Ok(cx.client.tell(Method::DELETE, &route(kernel)).await?);
    several::each(cx, &args.kernels, work, |kernel, ()| several::gone(cx.ui, "kernel", kernel.as_str())).await
}
