//! `vm prune`.

use super::{Cx, several};
use crate::{
    client::Route,
    error::{CliError, UsageError},
    output::{
        age,
        style::Style,
        table::{Align, Table},
    },
};
use banger_model::{
    ByteSize, VmId, VmName,
    api::{
        error::ErrorCode,
        vm::{PrunableVm, PruneList},
    },
};
use clap::Args;
use hyper::Method;
use rustix::{
    stdio::{stderr, stdin},
    termios::isatty,
};
use std::{collections::HashMap, io};

/// Delete all VMs that are stopped
///
/// Shows which they are and how much room they take, and asks first. One that is started or deleted in the meantime is left
/// alone. With --json, the first line is what was shown, and what became of each follows.
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

pub(super) async fn run(cx: &Cx<'_>, args: PruneArgs) -> Result<u8, CliError> {
    let list: PruneList = cx.client.get(&Route::new(["prune"])).await?;
    if cx.ui.json {
        cx.ui.print_json(&list)?;
    }
    let vms = list.vms;
    if vms.is_empty() {
        if !cx.ui.json {
            cx.ui.say("nothing to delete: no VM is stopped");
        }
        return Ok(0);
    }
    cx.ui.say(render(&vms, age::now_ms(), cx.ui.err).trim_end());
    if !args.force && !agreed(&vms)? {
        cx.ui.say("nothing was deleted");
        return Ok(0);
    }
    let ids: HashMap<VmName, VmId> = vms.iter().map(|vm| (vm.name.clone(), vm.id)).collect();
    let names: Vec<_> = vms.into_iter().map(|vm| vm.name).collect();
    let request = |vm: &VmName| {
        let route = Route::new(["vms", vm.as_str()]);
        let route = match ids.get(vm) {
            Some(id) => route.query("id", id.as_str()),
            None => route,
        };
        (Method::DELETE, route)
    };
    several::operate(cx, &names, cx.removing(), request, async |vm, error| left_alone(vm, error)).await
}

/// What others did to a VM since the list was made is no failure of a prune.
fn left_alone(vm: &VmName, error: CliError) -> Result<String, CliError> {
    match error.code() {
        Some(ErrorCode::VmNotFound) => Ok(format!("{vm} has been deleted in the meantime")),
        Some(ErrorCode::VmStatus) => Ok(format!("{vm} is not stopped any more: left alone")),
        _ => Err(error),
    }
}

/// Asks on the terminal.
fn agreed(vms: &[PrunableVm]) -> Result<bool, CliError> {
    let what = sum(vms);
    if !isatty(stdin()) || !isatty(stderr()) {
        return Err(UsageError::NobodyToAsk { what }.into());
    }
    let asked = |source| CliError::Setup { what: "the terminal", source };
    // Not by way of the user interface, which ends its lines, and is silent when told to be.
    rustix::io::write(stderr(), format!("delete {what}? [y/N] ").as_bytes()).map_err(|e| asked(e.into()))?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(asked)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// How many they are and what they take.
fn sum(vms: &[PrunableVm]) -> String {
    let used = ByteSize(vms.iter().map(|vm| vm.used.0).sum());
    match vms {
        [vm] => format!("{} ({used})", vm.name),
        _ => format!("these {} VMs ({used})", vms.len()),
    }
}

fn render(vms: &[PrunableVm], now_ms: u64, style: Style) -> String {
    let mut table = Table::new([
        ("NAME", Align::Left),
        ("CREATED", Align::Left),
        ("LAST RUN", Align::Left),
        ("USES", Align::Right),
    ]);
    for vm in vms {
        let ended = vm.ended_ms.map_or_else(|| "never".to_owned(), |ended| age::ago(ended, now_ms));
        table.row([vm.name.to_string(), age::ago(vm.created_ms, now_ms), ended, vm.used.to_string()]);
    }
    table.render(style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_will_go_is_shown_first() {
        let vm = |name: &str, ended_ms, used| PrunableVm {
            id: VmId::from_entropy([1; 16]),
            name: name.parse().unwrap(),
            created_ms: 1_700_000_000_000,
            ended_ms,
            used: ByteSize(used),
        };
        let vms = [vm("calm-otter", Some(1_700_000_100_000), 5 << 20), vm("new", None, (2 << 20) + 1)];
        insta::assert_snapshot!(render(&vms, 1_700_000_200_000, Style::PLAIN), @r"
        NAME        CREATED        LAST RUN       USES
        calm-otter  3 minutes ago  1 minute ago  5 MiB
        new         3 minutes ago  never         2 MiB
        ");
        assert_eq!(sum(&vms), "these 2 VMs (7 MiB)");
        assert_eq!(sum(&vms[..1]), "calm-otter (5 MiB)");
    }
}
