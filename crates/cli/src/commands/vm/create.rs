//! `vm create`.

use super::{Cx, run::made};
use crate::{args::SpecArgs, client::Route, error::CliError};
use clap::Args;
use hyper::Method;

/// Make a VM without starting it, and print its name
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    spec: SpecArgs,
}

pub(super) async fn run(cx: &Cx<'_>, args: CreateArgs) -> Result<(), CliError> {
    let request = args.spec.request(false, false)?;
    let mut events = cx.client.operate(Method::POST, &Route::new(["vms"]), Some(&request)).await?;
    let vm = made(cx.building().follow(&mut events).await?)?;
    if !cx.ui.json {
        cx.ui.print_line(vm.name.as_str())?;
    }
    Ok(())
}
