//! `vm run`.

use super::{Cx, in_vm};
use crate::{
    args::{CommandArgs, SpecArgs},
    client::{Events, Route},
    error::CliError,
    output::style::Tone,
};
use banger_model::{
    VmName,
    api::{error::ErrorCode, op::OpResult, vm::VmView},
};
use clap::Args;
use hyper::Method;

/// Make a VM, and run a command or a shell in it
///
/// Without CMD you get a shell. The VM stays when it ends, unless --rm was given. Standard input, output and error are the
/// command's, and its exit status is banger's: 128 + n after signal n, 126 when it cannot be executed, 127 when there is
/// none of that name, and 125 when it was banger that failed. A VM that never became ready is kept, so that you can read
/// its logs.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RunArgs {
    /// Delete the VM when the command has ended, whatever its status
    #[arg(long)]
    rm: bool,
    /// Start the VM, print its name and leave it running
    #[arg(short, long, conflicts_with_all = ["rm", "command", "env", "workdir", "user", "tty", "no_tty"])]
    detach: bool,
    #[command(flatten)]
    spec: SpecArgs,
    #[command(flatten)]
    how: CommandArgs,
    /// The command and its arguments
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  banger vm run --rm -- uname -a                       one command in a machine that is gone afterwards
  banger vm run --name box                             a shell in a machine that stays
  banger vm run --image docker.io/library/alpine -d    a machine in the background
  tar c . | banger vm run --rm -- tar x                standard input is the command's";

pub(super) async fn run(cx: &Cx<'_>, args: RunArgs) -> Result<u8, CliError> {
    let RunArgs { rm, detach, spec, how, command } = args;
    let request = spec.request(true, rm)?;
    let mut events = cx.client.operate(Method::POST, &Route::new(["vms"]), Some(&request)).await?;
    let vm = made(cx.building().follow(&mut events).await?)?;
    warn(cx, &vm);
    if detach {
        if !cx.ui.json {
            cx.ui.print_line(vm.name.as_str())?;
        }
        stays(cx, &vm.name);
        return Ok(0);
    }
    let ended = in_vm(cx, &vm.name, how.command(command)).await;
    if rm {
        remove(cx, &vm.name, events).await;
    } else {
        drop(events);
        stays(cx, &vm.name);
    }
    ended
}

/// The VM that an operation left.
pub(super) fn made(result: Option<OpResult>) -> Result<VmView, CliError> {
    match result {
        Some(OpResult::Vm(vm)) => Ok(vm),
        _ => Err(CliError::NoResult { what: "the VM" }),
    }
}

/// Says what did not go well in the guest but did not stop it.
pub(super) fn warn(cx: &Cx<'_>, vm: &VmView) {
    for warning in vm.running.iter().flat_map(|running| &running.warnings) {
        cx.ui.warn(&crate::output::clean::line(warning));
    }
}

/// Deletes the VM and waits for it, so that nothing is left when we exit. `lease` is the answer that the VM's life hangs on:
/// whatever happens to us here, the daemon goes on when it closes.
async fn remove(cx: &Cx<'_>, vm: &VmName, lease: Events) {
    let route = Route::new(["vms", vm.as_str()]).query("force", "true");
    let deleted = async {
        let mut events = cx.client.operate(Method::DELETE, &route, None::<&()>).await?;
        cx.removing().follow_silently(&mut events).await
    };
    if let Err(error) = deleted.await
        && error.code() != Some(ErrorCode::VmNotFound)
        && let Some(report) = error.report()
    {
        // The command's status is what counts; the daemon goes on trying.
        cx.ui.warn(&format!("{vm} is not deleted yet: {}", report.message()));
    }
    drop(lease);
}

fn stays(cx: &Cx<'_>, vm: &VmName) {
    if cx.ui.json {
        return;
    }
    let hint = cx.ui.err.paint(Tone::Hint, "hint:");
    cx.ui.say(&format!(
        "{hint} {vm} goes on running: `banger vm shell {vm}` gets you back, `banger vm delete --force {vm}` deletes it"
    ));
}
