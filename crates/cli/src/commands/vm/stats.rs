//! `vm stats`.

use super::{Cx, several};
use crate::{
    client::Route,
    error::CliError,
    output::{
        age,
        style::Style,
        table::{Align, Table},
    },
};
use banger_model::{
    ByteSize, VmName,
    api::{
        error::ErrorCode,
        stats::{DiskStats, VmStats},
        vm::VmList,
    },
    vm::Status,
};
use clap::Args;
use std::{cell::RefCell, time::Duration};

/// Show what running VMs use
///
/// CPU is the VMM's share of one of the host's processors over the interval, so that 200% is two of them, and its processor
/// time since the boot. MEMORY is what is in use in the guest, of what its kernel has, as the guest said within the last
/// five seconds; ON HOST is what the VMM has of the host's memory, with pages that VMs share divided among them. READ and
/// WRITTEN are what went through all of its disks since the boot; IN and OUT what went through Firecracker's vsock, which
/// carries commands and copies. Units are bytes in powers of 1024.
///
/// Without names, all VMs that run are shown. With --json there is an object for each VM, one a line, with each disk apart.
#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// Over how many milliseconds to watch the processors
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=60_000))]
    interval: u32,
    /// Which
    #[arg(value_name = "VM")]
    vms: Vec<VmName>,
}

pub(super) async fn run(cx: &Cx<'_>, args: StatsArgs) -> Result<u8, CliError> {
    let mut names = args.vms;
    let all = names.is_empty();
    if all {
        let list: VmList = cx.client.get(&Route::new(["vms"])).await?;
        names.extend(list.vms.into_iter().filter(|vm| vm.status == Status::Running).map(|vm| vm.name));
        if names.is_empty() {
            cx.ui.say("no VM runs");
            return Ok(0);
        }
    }
    let interval = args.interval.to_string();
    let work = async |name: &VmName| {
        let route = Route::new(["vms", name.as_str(), "stats"]).query("interval_ms", &interval);
        let error: CliError = match cx.client.get::<VmStats>(&route).await {
            Ok(stats) => return Ok(Some(stats)),
            Err(error) => error.into(),
        };
        match error.code() {
            // Nobody asked for this one, and it has ended since it was listed.
            Some(ErrorCode::VmStatus | ErrorCode::VmNotFound) if all => Ok(None),
            _ => Err(several::known_better(&cx.client, name, error).await),
        }
    };
    let rows = RefCell::new(Vec::new());
    let tell = |_: &VmName, stats: Option<VmStats>| {
        let Some(stats) = stats else { return Ok(()) };
        if cx.ui.json {
            return Ok(cx.ui.print_json(&stats)?);
        }
        rows.borrow_mut().push(stats);
        Ok(())
    };
    let status = several::each(cx, &names, work, tell).await?;
    let rows = rows.into_inner();
    if !rows.is_empty() {
        cx.ui.print(&render(&rows, cx.ui.out))?;
    }
    Ok(status)
}

fn render(vms: &[VmStats], style: Style) -> String {
    let mut table = Table::new([
        ("NAME", Align::Left),
        ("CPU", Align::Right),
        ("CPU TIME", Align::Right),
        ("MEMORY", Align::Right),
        ("ON HOST", Align::Right),
        ("READ", Align::Right),
        ("WRITTEN", Align::Right),
        ("IN", Align::Right),
        ("OUT", Align::Right),
        ("UPTIME", Align::Right),
    ]);
    for vm in vms {
        let sum = |of: fn(&DiskStats) -> ByteSize| match vm.disks.is_empty() {
            true => String::new(),
            false => ByteSize(vm.disks.iter().fold(0, |sum: u64, disk| sum.saturating_add(of(disk).0))).to_string(),
        };
        let memory = match &vm.memory.guest {
            Some(guest) => format!("{} / {}", guest.used, guest.total),
            None => format!("? / {}", vm.memory.assigned),
        };
        table.row([
            vm.name.to_string(),
            vm.cpu.percent.map(|percent| format!("{percent:.1}%")).unwrap_or_default(),
            age::took(Duration::from_millis(vm.cpu.used_ms)),
            memory,
            vm.memory.proportional.unwrap_or(vm.memory.resident).to_string(),
            sum(|disk| disk.read),
            sum(|disk| disk.written),
            vm.vsock.map(|vsock| vsock.to_guest.to_string()).unwrap_or_default(),
            vm.vsock.map(|vsock| vsock.from_guest.to_string()).unwrap_or_default(),
            age::took(Duration::from_millis(vm.uptime_ms)),
        ]);
    }
    table.render(style)
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_model::{
        VmId,
        api::stats::{CpuStats, GuestMemoryStats, MemoryStats, StreamStats},
    };

    #[test]
    fn all_that_is_told_and_as_little_as_may_be() {
        let disk = |name: &str, read, written| DiskStats {
            name: name.into(),
            read: ByteSize::mib(read),
            written: ByteSize::mib(written),
            reads: 10,
            writes: 20,
        };
        let full = VmStats {
            id: VmId::from_entropy([7; 16]),
            name: "brisk-heron".parse().unwrap(),
            at_ms: 1_700_000_100_000,
            uptime_ms: 3_700_000,
            cpu: CpuStats { used_ms: 12_345, percent: Some(103.25) },
            memory: MemoryStats {
                assigned: ByteSize::mib(256),
                resident: ByteSize::mib(200),
                proportional: Some(ByteSize::mib(180)),
                guest: Some(GuestMemoryStats {
                    total: ByteSize::mib(230),
                    used: ByteSize::mib(50),
                    caches: Some(ByteSize::mib(20)),
                }),
            },
            disks: vec![disk("image", 50, 0), disk("work", 3, 7)],
            vsock: Some(StreamStats { to_guest: ByteSize(4096), from_guest: ByteSize(8192) }),
        };
        let least = VmStats {
            name: "box".parse().unwrap(),
            uptime_ms: 900,
            cpu: CpuStats { used_ms: 10, percent: None },
            memory: MemoryStats { proportional: None, guest: None, ..full.memory },
            disks: Vec::new(),
            vsock: None,
            ..full.clone()
        };
        insta::assert_snapshot!(render(&[full, least], Style::PLAIN), @r"
        NAME            CPU  CPU TIME            MEMORY  ON HOST    READ  WRITTEN     IN    OUT     UPTIME
        brisk-heron  103.2%    12.3 s  50 MiB / 230 MiB  180 MiB  53 MiB    7 MiB  4 KiB  8 KiB  1 h 1 min
        box               -     10 ms       ? / 256 MiB  200 MiB       -        -      -      -     900 ms
        ");
    }
}
