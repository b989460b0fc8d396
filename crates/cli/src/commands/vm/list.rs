//! `vm list`.

use super::Cx;
use crate::{
    client::Route,
    error::CliError,
    output::{
        age,
        style::Style,
        table::{Align, Table},
    },
};
use banger_model::api::vm::{VmList, VmView};
use clap::Args;

/// List all VMs
///
/// With --quiet, only their names are printed, one a line.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {}

pub(super) async fn run(cx: &Cx<'_>) -> Result<(), CliError> {
    let list: VmList = cx.client.get(&Route::new(["vms"])).await?;
    let people = || match list.vms.is_empty() {
        true => {
            cx.ui.say("no VMs yet: `banger vm run` makes one");
            Ok(())
        }
        false => cx.ui.print(&render(&list.vms, age::now_ms(), cx.ui.out)),
    };
    Ok(cx.ui.print_list(&list, list.vms.iter().map(|vm| &vm.name), people)?)
}

fn render(vms: &[VmView], now_ms: u64, style: Style) -> String {
    let mut table = Table::new([
        ("NAME", Align::Left),
        ("STATUS", Align::Left),
        ("IMAGE", Align::Left),
        ("VCPU", Align::Right),
        ("MEMORY", Align::Right),
        ("DISK", Align::Right),
        ("CREATED", Align::Left),
    ]);
    for vm in vms {
        table.row([
            vm.name.to_string(),
            match vm.running.as_ref().is_some_and(|running| running.offline) {
                false => vm.status.to_string(),
                true => format!("{}, offline", vm.status),
            },
            vm.spec.image.to_string(),
            vm.spec.vcpu.to_string(),
            vm.spec.memory.to_string(),
            vm.spec.disk.to_string(),
            age::ago(vm.created_ms, now_ms),
        ]);
    }
    table.render(style)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::vm::show::tests::sample;

    #[test]
    fn one_line_a_vm() {
        let mut other = sample();
        other.name = "a-much-longer-name".parse().unwrap();
        other.running.as_mut().unwrap().offline = false;
        insta::assert_snapshot!(render(&[sample(), other], 1_700_000_200_000, Style::PLAIN));
    }
}
