//! `doctor`.

use super::Cx;
use crate::{client::Route, error::CliError, output::check};
use banger_model::api::{doctor::Outcome, op::OpResult};
use clap::Args;
use hyper::Method;

/// See whether VMs can run on this host, and what to do if not
///
/// Every tool, device and permission is looked at. At the end a throwaway VM is booted. The exit status is 1 when anything
/// failed.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Only look: boot nothing
    #[arg(long)]
    no_boot: bool,
}

pub(super) async fn run(cx: &Cx<'_>, args: DoctorArgs) -> Result<u8, CliError> {
    let route = Route::new(["doctor"]);
    let report = if args.no_boot {
        let report: banger_model::api::doctor::DoctorReport = cx.client.get(&route).await?;
        if cx.ui.json {
            cx.ui.print_json(&report)?;
        } else {
            for found in &report.checks {
                cx.ui.print(&check::render(found, cx.ui.out))?;
            }
        }
        report
    } else {
        let mut events = cx.client.operate(Method::POST, &route, None::<&()>).await?;
        match cx.building().follow(&mut events).await? {
            Some(OpResult::Doctor(report)) => report,
            _ => return Err(CliError::NoResult { what: "the report" }),
        }
    };
    if !cx.ui.json {
        cx.ui.say(&check::verdict(&report));
    }
    Ok(u8::from(report.checks.iter().any(|check| check.outcome == Outcome::Fail)))
}
