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
    let request = |kernel: &KernelRef| (Method::DELETE, Route::new(["kernels", kernel.as_str()]));
    several::operate(cx, &args.kernels, cx.removing(), request, async |_, error| Err(error)).await
}
