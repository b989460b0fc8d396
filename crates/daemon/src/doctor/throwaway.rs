//! A VM that is booted, runs one command and is taken away again.

use super::{fail, pass, warn};
use crate::{
    App,
    db::VmRow,
    guest::{Incoming, SessionError},
    op::{Cancelled, OpCx},
    prepare::PrepareError,
    verbs::{self, VerbError, chain, create::Made},
};
use banger_model::{
    ByteSize,
    api::{doctor::Check, vm::CreateVm},
    spec::{Accel, VmmKind},
    wire::{
        Body,
        guest::{Exec, ExitStatus, Request},
    },
};
use std::time::{Duration, Instant};

/// Enough for any guest to boot.
const MEMORY: ByteSize = ByteSize::mib(512);
/// Its disks stay all but empty.
const DISK: ByteSize = ByteSize::gib(1);
/// How long a command that does nothing may take.
const COMMAND_BOUND: Duration = Duration::from_secs(60);

/// Boots it. Fails only when nobody wants to know any more; what is wrong with the host is a finding.
pub(crate) async fn boot(app: &App, cx: &OpCx) -> Result<Vec<Check>, Cancelled> {
    let name = "throwaway VM";
    // Whoever asks wants to know how things are now.
    for vmm in [VmmKind::Firecracker, VmmKind::Qemu] {
        app.host.doubt_kvm(vmm);
    }
    let request = CreateVm { memory: Some(MEMORY), disk: Some(DISK), vcpu: Some(1), rm: true, ..CreateVm::default() };
    let Made { vm, slot, lease } = match verbs::create::create(app, request, cx).await {
        Ok(made) => made,
        Err(VerbError::Cancelled(cancelled) | VerbError::Prepare(PrepareError::Cancelled(cancelled))) => {
            return Err(cancelled);
        }
        Err(error) => return Ok(vec![fail(name, format!("could not be made: {}", chain(&error)), advice(&error))]),
    };
    let begun = Instant::now();
    let started = verbs::start::start_held(app, vm.clone(), slot, cx).await;
    let booted = begun.elapsed();
    let mut checks = match started {
        Ok(vm) => ran(app, vm, booted).await,
        Err(error) => vec![fail(name, format!("did not boot: {}", chain(&error)), advice(&error))],
    };
    let gone = verbs::delete::delete(app, &vm.name, Some(vm.id), true, cx).await;
    drop(lease);
    if let Err(error) = gone {
        let fix = format!("`banger vm delete --force {}`", vm.name);
        checks.push(fail(name, format!("could not be taken away: {}", chain(&error)), fix));
    }
    Ok(checks)
}

async fn ran(app: &App, vm: VmRow, booted: Duration) -> Vec<Check> {
    let name = "throwaway VM";
    let mut checks = Vec::new();
    let Some(boot) = &vm.boot else { return vec![fail(name, "ended at once", "`banger doctor` again")] };
    checks.push(match boot.accel {
        Accel::Kvm => pass("KVM", boot.reason.clone()),
        Accel::Tcg => warn("KVM", boot.reason.clone(), "on a virtual host, ask for nested virtualization"),
    });
    let begun = Instant::now();
    let command = tokio::time::timeout(COMMAND_BOUND, nothing(app, &vm)).await;
    let took = begun.elapsed();
    let what = format!("booted in {:.1} s with {} ({})", booted.as_secs_f64(), boot.vmm, boot.accel);
    checks.push(match command {
        Ok(Ok(true)) => pass(name, format!("{what}, then ran a command in {} ms", took.as_millis())),
        Ok(Ok(false)) => fail(name, format!("{what}, but a command in it did not succeed"), "look at the daemon's log"),
        Ok(Err(error)) => {
            fail(name, format!("{what}, but no command runs in it: {}", chain(&error)), "look at the daemon's log")
        }
        Err(_) => fail(
            name,
            format!("{what}, but a command did not end within {} s", COMMAND_BOUND.as_secs()),
            "look at the daemon's log",
        ),
    });
    checks
}

/// Runs a command that does nothing. Whether it did so.
async fn nothing(app: &App, vm: &VmRow) -> Result<bool, SessionError> {
    let session = app.host.session(vm.id).await?;
    let argv = ["/bin/sh", "-c", ":"].map(String::from).to_vec();
    let (channel, _) = session.request(Request::Exec(Exec { argv, ..Exec::default() })).await?;
    loop {
        match channel.next().await {
            Incoming::Body(Body::Exit(status)) => return Ok(status == ExitStatus::Code(0)),
            Incoming::Body(_) => {}
            Incoming::Lost => return Err(SessionError::Ended),
        }
    }
}

fn advice(error: &VerbError) -> String {
    match error {
        VerbError::Prepare(_) => {
            "see what is missing above; or try an image of your own: `banger image pull REFERENCE`".into()
        }
        VerbError::Boot { .. } | VerbError::Host { .. } => {
            "look at the daemon's log, which `banger daemon status` names".into()
        }
        _ => "see what is missing above".into(),
    }
}
