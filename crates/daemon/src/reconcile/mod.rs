//! Brings the host to what is on record: at daemon start, then periodically, when a VMM ends, and after a failed verb.
//!
//! Takes no hints: inventory, then the pure [`plan`], then the dull execution here. A VM that somebody acts on is skipped;
//! whoever holds its slot is answerable for it.

pub(crate) mod plan;

use crate::{
    App,
    db::{DbError, VmRow},
    host::{HostError, Present},
    resource::Resource,
    verbs::{apply, chain},
};
use banger_model::{
    VmId,
    api::vm::{BootEnd, EndReason},
    spec::NetMode,
    vm::{OpenOperation, Target, Verb},
};
use plan::{Decision, Fact, Intent};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tracing::Instrument;

/// How often the host is looked at when nothing seems to happen.
pub(crate) const PERIOD: Duration = Duration::from_secs(60);
/// How long an agent may take to say that it is there, when a start had been interrupted.
const AGENT_BOUND: Duration = Duration::from_secs(5);

/// How warnings about a network begin.
const BROKE_DOWN: &str = "its network broke down";

/// Reconcile could not look.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReconcileError {
    #[error(transparent)]
    Db(#[from] DbError),
    #[error("the host's inventory")]
    Inventory(#[from] HostError),
}

/// Looks at everything.
pub(crate) async fn all(app: &App) -> Result<(), ReconcileError> {
    let inventory = app.host.inventory().await?;
    let rows: BTreeMap<VmId, VmRow> = app.db.vms().await?.into_iter().map(|row| (row.id, row)).collect();
    let ids: BTreeSet<VmId> = inventory.keys().chain(rows.keys()).copied().collect();
    for id in ids {
        // Somebody acts on it: it is theirs.
        let Some(slot) = app.slots.try_lock(&id) else { continue };
        // Most VMs need nothing. Whoever changed one since it was read left it in order, or will be asked again.
        if rests(app, id, rows.get(&id)) {
            continue;
        }
        one(app, id).await?;
        drop(slot);
    }
    Ok(())
}

/// Whether a VM is at rest, as its row was read.
fn rests(app: &App, id: VmId, row: Option<&VmRow>) -> bool {
    let fact = Fact { intent: row.map(|row| intent(app, row)), present: app.host.observe(id), agent_answers: false };
    plan::decide(&fact) == Decision::Leave
}

/// What is on record of a VM, as far as the plan asks.
fn intent(app: &App, row: &VmRow) -> Intent {
    Intent {
        target: row.target,
        open: row.operation.as_ref().map(crate::db::OperationRow::open),
        unheld: row.rm && !app.leases.held(row.id),
        networked: row.spec.net == NetMode::User,
        left: !row.left.is_empty(),
    }
}

/// Looks at one VM, whose slot the caller holds.
pub(crate) async fn one(app: &App, id: VmId) -> Result<(), ReconcileError> {
    // Read after the slot was taken: what was seen before may be old.
    let row = app.db.vm(id).await?;
    let fact = observe(app, id, row.as_ref()).await;
    let decision = plan::decide(&fact);
    if !matches!(decision, Decision::Leave | Decision::Adopt) {
        tracing::info!(vm = %id, ?decision, ?fact, "reconcile");
    }
    match decision {
        Decision::Leave => {}
        Decision::Adopt => app.watch(id),
        Decision::MendNetwork => {
            if let Some(row) = &row {
                mend_network(app, row).await?;
            }
            app.watch(id);
        }
        Decision::SettleRunning => {
            app.db.settle(id, Target::Running).await?;
            app.watch(id);
        }
        Decision::TakeDown(target) => take_down(app, id, row.as_ref(), target, taken_down(&fact)).await?,
        Decision::NoteEnd => {
            let reason = match &row {
                Some(row) => app.host.ended(row).await,
                None => EndReason::Lost,
            };
            take_down(app, id, row.as_ref(), Target::Stopped, reason).await?;
        }
    }
    Ok(())
}

/// Gives a running VM another process for its network. Its guest keeps its addresses, and loses its connections.
async fn mend_network(app: &App, row: &VmRow) -> Result<(), DbError> {
    let words = app.host.network_ended(row).await;
    tracing::warn!(vm = %row.id, words, "the process that is the VM's network has ended");
    let begun = app.operations.begin(crate::clock::new_op(), format!("mend the network of {}", row.name));
    // An id that is minted is nobody else's.
    let Ok((cx, _events)) = begun else { return Ok(()) };
    // The process is given this id, so what is logged about it here has the same.
    let span = tracing::info_span!("mend", op = %cx.id());
    let mend = async {
        match app.host.ensure(row, Resource::UserNet, &cx).await {
            Ok(_) => {
                tracing::info!(vm = %row.id, "the VM has a network again");
                format!("{BROKE_DOWN} and was set up again: {words}")
            }
            Err(error) => {
                tracing::error!(vm = %row.id, error = &error as &dyn std::error::Error, "the network was not mended");
                format!("{BROKE_DOWN}: {words}; it cannot be set up again: {}", chain(&error))
            }
        }
    };
    let warning = mend.instrument(span).await;
    let Some(mut boot) = row.boot.clone() else { return Ok(()) };
    // The last breakdown is the one that matters, and the log has them all.
    boot.warnings.retain(|warning| !warning.starts_with(BROKE_DOWN));
    boot.warnings.push(warning);
    app.db.note_boot(row.id, boot).await
}

/// Why a boot that is taken down has ended.
fn taken_down(fact: &Fact) -> EndReason {
    match fact.intent.and_then(|intent| intent.open) {
        Some(OpenOperation { verb: Verb::Start | Verb::Restart, .. }) => {
            EndReason::NeverReady { message: "the daemon ended while it was being started".into() }
        }
        _ => EndReason::Killed,
    }
}

async fn observe(app: &App, id: VmId, row: Option<&VmRow>) -> Fact {
    let present: Present = app.host.observe(id);
    let intent = row.map(|row| intent(app, row));
    // An agent that has not been given the VM's facts answers too, but its guest is not what was asked for.
    let configured = row.and_then(|row| row.boot.as_ref()).is_some_and(|boot| !boot.boot_id.is_empty());
    let agent_answers = match intent {
        Some(intent) if plan::needs_agent(&intent) && present.vmm_alive && configured => {
            tokio::time::timeout(AGENT_BOUND, app.host.session(id)).await.is_ok_and(|session| session.is_ok())
        }
        _ => false,
    };
    Fact { intent, present, agent_answers }
}

async fn take_down(app: &App, id: VmId, row: Option<&VmRow>, target: Target, reason: EndReason) -> Result<(), DbError> {
    let left = apply::down(app.host.as_ref(), id, target).await;
    if let Some(row) = row
        && row.boot.is_some()
    {
        app.db.note_end(id, BootEnd { at_ms: crate::clock::now_ms(), boot: row.boots, reason }).await?;
    }
    // What is left makes the VM degraded, and the next look tries again.
    match row {
        Some(_) => apply::close(app, id, target, &left).await,
        None => Ok(()),
    }
}
