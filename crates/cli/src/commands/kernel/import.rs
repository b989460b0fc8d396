//! `kernel import`.

use super::{Cx, pull::tell};
use crate::{args::absolute, client::Route, error::CliError};
use banger_model::{KernelRef, api::image::ImportKernel};
use clap::Args;
use hyper::Method;
use std::path::PathBuf;

/// Keep a kernel of yours, so that VMs can boot it
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Its modules: the folder lib/modules/RELEASE that belongs to it
    #[arg(long, value_name = "DIR")]
    modules: Option<PathBuf>,
    /// The kernel: a bzImage or an ELF vmlinux
    #[arg(value_name = "FILE")]
    kernel: PathBuf,
    /// The name under which it is kept
    #[arg(value_name = "NAME")]
    name: KernelRef,
}

pub(super) async fn run(cx: &Cx<'_>, args: ImportArgs) -> Result<(), CliError> {
    let ImportArgs { modules, kernel, name } = args;
    let modules = modules.as_deref().map(absolute).transpose()?;
    let request = ImportKernel { name, kernel: absolute(&kernel)?, modules };
    let mut events = cx.client.operate(Method::POST, &Route::new(["kernels", "import"]), Some(&request)).await?;
    tell(cx, cx.building().follow(&mut events).await?)
}
