//! `start`: from rest to a guest whose agent answers.

use super::{Admitted, VerbError, apply};
use crate::{
    App,
    db::{BootRow, OperationRow, VmRow},
    host::{BootError, HostError},
    locks::Held,
    op::OpCx,
};
use banger_model::{
    VmId, VmName,
    api::{
        op::Stage,
        vm::{BootEnd, EndReason},
    },
    spec::Accel,
    vm::{Target, Verb},
};

/// Boots a VM; one that runs is left as it is.
pub(crate) async fn start(app: &App, name: &VmName, cx: &OpCx) -> Result<VmRow, VerbError> {
    match super::admit(app, name, Verb::Start, cx).await? {
        Admitted::Go(vm, slot) => start_held(app, vm, slot, cx).await,
        Admitted::Already(vm) => Ok(vm),
    }
}

/// Boots a VM at rest whose slot the caller has held since it saw that.
pub(crate) async fn start_held(app: &App, vm: VmRow, slot: Held, cx: &OpCx) -> Result<VmRow, VerbError> {
    // 1. validate
    app.check_memory(vm.spec.memory).await?;

    // 2. prepare
    app.prepare.initramfs(&vm.spec.kernel_digest).await?;
    let boot = choose(app, &vm, cx).await?;

    // 3. intend
    app.db.intend(vm.id, Target::Running, OperationRow::begin(cx.id(), Verb::Start), Some(boot.clone())).await?;

    // 4. apply
    boot_as_intended(app, vm.id, Verb::Start, boot, cx).await?;

    // 5. settle
    let vm = app.settle(vm.id, Target::Running).await?;
    drop(slot);
    app.watch(vm.id);
    Ok(vm)
}

/// Builds up and boots; where it fails and KVM turns out to work no more, once more with what is chosen then.
pub(super) async fn boot_as_intended(
    app: &App,
    id: VmId,
    verb: Verb,
    mut boot: BootRow,
    cx: &OpCx,
) -> Result<(), VerbError> {
    loop {
        let vm = app.row(id).await?;
        let Err(failure) = bring_up(app, &vm, cx).await else { return Ok(()) };
        let doubtful = doubts_kvm(&boot, &failure);
        let cause = unwind(app, &vm, verb, failure, cx).await;
        if !doubtful {
            return Err(cause);
        }
        boot = second_choice(app, &vm, boot, cause, cx).await?;
        app.db.intend(id, Target::Running, OperationRow::begin(cx.id(), verb), Some(boot.clone())).await?;
    }
}

/// Whether a guest may have failed because KVM works no more: that was proved once and is remembered since.
fn doubts_kvm(boot: &BootRow, failure: &Failure) -> bool {
    let may_be_kvm = matches!(
        failure,
        Failure::Host(HostError::Launch { .. }) | Failure::Boot(BootError::Silent { .. } | BootError::VmmEnded { .. })
    );
    may_be_kvm && boot.accel == Accel::Kvm
}

/// Has KVM proved anew, and gives what is chosen then if that is something else. If not, it was not KVM, and the cause stands.
async fn second_choice(
    app: &App,
    vm: &VmRow,
    first: BootRow,
    cause: VerbError,
    cx: &OpCx,
) -> Result<BootRow, VerbError> {
    app.host.doubt_kvm(first.vmm);
    let second = choose(app, vm, cx).await?;
    if (second.vmm, second.accel) == (first.vmm, first.accel) {
        return Err(cause);
    }
    tracing::warn!(vm = %vm.id, cause = &cause as &dyn std::error::Error, "KVM was proved and works no more");
    cx.note(format!("KVM worked before and does no more: starting {} again with {}", vm.name, second.vmm));
    Ok(second)
}

/// Which VMM, with one line for the user when it is not the best there is.
pub(super) async fn choose(app: &App, vm: &VmRow, cx: &OpCx) -> Result<BootRow, VerbError> {
    cx.stage(Stage::Probe, "");
    let boot = app.host.choose(vm, cx).await.map_err(|source| VerbError::Choose { name: vm.name.clone(), source })?;
    if boot.accel == Accel::Tcg {
        cx.note(format!("{} (`banger doctor` says what to do)", boot.reason));
    }
    Ok(boot)
}

/// What stopped a boot.
enum Failure {
    Host(HostError),
    Boot(BootError),
    Db(crate::db::DbError),
}

/// Builds up to running and waits for the agent.
async fn bring_up(app: &App, vm: &VmRow, cx: &OpCx) -> Result<(), Failure> {
    apply::up(app.host.as_ref(), vm, Target::Running, cx).await.map_err(Failure::Host)?;
    cx.stage(Stage::Boot, "");
    let facts = app.host.boot(vm, cx).await.map_err(Failure::Boot)?;
    for warning in &facts.warnings {
        cx.note(format!("{}: {warning}", vm.name));
    }
    let Some(boot) = vm.boot.clone() else { return Err(Failure::Host(HostError::NoBoot)) };
    let boot = BootRow { kernel_release: facts.kernel, boot_id: facts.boot_id, warnings: facts.warnings, ..boot };
    app.db.note_boot(vm.id, boot).await.map_err(Failure::Db)
}

/// Goes back to rest, and gives the cause as the error whatever happens on the way.
async fn unwind(app: &App, vm: &VmRow, verb: Verb, failure: Failure, cx: &OpCx) -> VerbError {
    let cause = match failure {
        Failure::Host(source) => VerbError::Host { verb, name: vm.name.clone(), source },
        Failure::Boot(source) => VerbError::Boot { name: vm.name.clone(), source },
        Failure::Db(source) => VerbError::Db(source),
    };
    let end = BootEnd { at_ms: crate::clock::now_ms(), boot: vm.boots, reason: end_reason(&cause) };
    apply::back(app, vm, Target::Stopped, Some(end), cx).await;
    cause
}

fn end_reason(cause: &VerbError) -> EndReason {
    match cause {
        VerbError::Boot { source: BootError::Panicked { message, .. }, .. } => {
            EndReason::Panicked { message: message.clone() }
        }
        other => EndReason::NeverReady { message: super::error::chain(other) },
    }
}
