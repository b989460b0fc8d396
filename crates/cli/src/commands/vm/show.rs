//! `vm show`.

use super::{Cx, several};
use crate::{
    client::Route,
    error::CliError,
    output::{age, style::Style, table::Facts},
};
use banger_model::{
    VmName,
    api::vm::{BootEnd, EndReason, VmView},
    spec::{Accel, DiskLimits},
};
use clap::Args;

/// Show all there is to know about VMs
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Which
    #[arg(required = true, value_name = "VM")]
    vms: Vec<VmName>,
}

pub(super) async fn run(cx: &Cx<'_>, args: ShowArgs) -> Result<u8, CliError> {
    let mut first = true;
    let work = async |name: &VmName| {
        let got = cx.client.get::<VmView>(&Route::new(["vms", name.as_str()])).await;
        match got {
            Ok(vm) => Ok(vm),
            Err(error) => Err(several::known_better(&cx.client, name, error.into()).await),
        }
    };
    let tell = |_: &VmName, vm: VmView| {
        if cx.ui.json {
            return Ok(cx.ui.print_json(&vm)?);
        }
        let gap = if std::mem::take(&mut first) { "" } else { "\n" };
        Ok(cx.ui.print(&format!("{gap}{}", render(&vm, age::now_ms(), cx.ui.out)))?)
    };
    several::each(cx, &args.vms, work, tell).await
}

fn render(vm: &VmView, now_ms: u64, style: Style) -> String {
    let mut facts = Facts::default();
    facts.add("name", &vm.name);
    facts.add("status", vm.status);
    if let Some(open) = &vm.operation {
        let op = open.op.map(|op| format!(" ({op})")).unwrap_or_default();
        facts.add("under way", format!("{}{op}", open.verb));
    }
    for left in &vm.left {
        facts.add("left over", format!("{}: {}", left.part, left.why));
    }
    facts.add("id", vm.id);
    facts.add("image", format!("{} ({})", vm.spec.image, vm.spec.image_digest.short()));
    facts.add("kernel", format!("{} ({})", vm.spec.kernel, vm.spec.kernel_digest.short()));
    facts.add("vcpu", vm.spec.vcpu);
    facts.add("memory", vm.spec.memory);
    facts.add("disk", vm.spec.disk);
    facts.add("disk limits", limits(&vm.spec.limits));
    match vm.running.as_ref().is_some_and(|running| running.offline) {
        false => facts.add("network", vm.spec.net),
        true => facts.add("network", format!("{}, which has broken down", vm.spec.net)),
    }
    facts.add("created", age::ago(vm.created_ms, now_ms));
    facts.add("boots", vm.boots);
    if vm.rm {
        facts.add("deleted", "when the command that made it has ended");
    }
    match &vm.running {
        Some(running) => {
            let how = match running.accel {
                Accel::Kvm => "with KVM",
                Accel::Tcg => "under emulation (TCG)",
            };
            facts.add("vmm", format!("{} {how}, process {}", running.vmm, running.pid));
            facts.add("because", &running.reason);
            facts.add("release", &running.kernel_release);
            facts.add("started", age::ago(running.started_ms, now_ms));
            for warning in &running.warnings {
                facts.add("warning", warning);
            }
        }
        None => facts.add("vmm", vm.spec.vmm),
    }
    if let Some(end) = &vm.last_end {
        facts.add("last boot", ended(end, now_ms));
    }
    facts.render(style)
}

fn limits(limits: &DiskLimits) -> String {
    let bandwidth = limits.bandwidth.map(|bytes| format!("{bytes} a second"));
    let iops = limits.iops.map(|iops| format!("{iops} operations a second"));
    bandwidth.into_iter().chain(iops).collect::<Vec<_>>().join(", ")
}

fn ended(end: &BootEnd, now_ms: u64) -> String {
    let ago = age::ago(end.at_ms, now_ms);
    match &end.reason {
        EndReason::Stopped => format!("stopped {ago}"),
        EndReason::Killed => format!("killed {ago}"),
        EndReason::PoweredOff => format!("powered off by itself {ago}"),
        EndReason::Panicked { message } => format!("its kernel panicked {ago}: {message}"),
        EndReason::NeverReady { message } => format!("never became ready, {ago}: {message}"),
        EndReason::Lost => format!("its VMM was lost {ago}"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use banger_model::{
        ByteSize, Digest, OpId, VmId,
        api::vm::{LeftOver, OpenOp, RunningVm},
        spec::{DiskLimits, NetMode, VmSpec, VmmChoice, VmmKind},
        vm::{Status, Verb},
    };

    pub(in crate::commands::vm) fn sample() -> VmView {
        VmView {
            id: VmId::from_entropy([7; 16]),
            name: "brisk-heron".parse().unwrap(),
            status: Status::Running,
            spec: VmSpec {
                vcpu: 2,
                memory: ByteSize::gib(2),
                disk: ByteSize::gib(8),
                image: "127.0.0.1:5000/team/dev:1".parse().unwrap(),
                image_digest: Digest::from_bytes([1; 32]),
                kernel: "debian".parse().unwrap(),
                kernel_digest: Digest::from_bytes([2; 32]),
                vmm: VmmChoice::Auto,
                net: NetMode::User,
                limits: DiskLimits { bandwidth: Some(ByteSize::mib(50)), iops: Some(500) },
            },
            created_ms: 1_700_000_000_000,
            boots: 2,
            rm: false,
            running: Some(RunningVm {
                vmm: VmmKind::Qemu,
                accel: Accel::Tcg,
                reason: "KVM does not work here".into(),
                pid: 4711,
                started_ms: 1_700_000_100_000,
                kernel_release: "6.1.0-28-cloud-amd64".into(),
                boot_id: String::new(),
                offline: true,
                warnings: vec!["no swap\x1b[2J".into()],
            }),
            last_end: Some(BootEnd { at_ms: 1_700_000_090_000, boot: 1, reason: EndReason::PoweredOff }),
            operation: Some(OpenOp { op: Some(OpId::from_entropy([3; 16])), verb: Verb::Stop }),
            left: Vec::new(),
        }
    }

    #[test]
    fn a_vm_that_runs() {
        insta::assert_snapshot!(render(&sample(), 1_700_000_200_000, Style::PLAIN));
    }

    #[test]
    fn what_could_not_be_removed_is_named() {
        let mut vm = sample();
        (vm.status, vm.operation) = (Status::Degraded, None);
        vm.left = vec![LeftOver { part: "socket folder".into(), why: "Device or resource busy".into() }];
        let shown = render(&vm, 1_700_000_200_000, Style::PLAIN);
        let line = shown.lines().find(|line| line.starts_with("left over")).unwrap();
        assert!(line.ends_with("socket folder: Device or resource busy"), "{line}");
    }

    #[test]
    fn a_vm_that_panicked() {
        let mut vm = sample();
        vm.running = None;
        vm.operation = None;
        vm.status = Status::Stopped;
        let reason = EndReason::Panicked { message: "VFS: Unable to mount root fs".into() };
        vm.last_end = Some(BootEnd { at_ms: 1_700_000_199_000, boot: 2, reason });
        insta::assert_snapshot!(render(&vm, 1_700_000_200_000, Style::PLAIN));
    }
}
