//! What a daemon does now and then without being asked.

use crate::{App, memory, reconcile};
use std::{sync::Arc, time::Duration};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tracing::Instrument;

/// How long after an operation its memory is given back.
const TIDY_PAUSE: Duration = Duration::from_secs(1);
/// How long after an operation that failed it is looked whether it left something.
const MEND_PAUSE: Duration = Duration::from_secs(1);
/// How often it is looked whether what guests write has grown too large.
const TRIM_PERIOD: Duration = Duration::from_secs(1);

/// All of it but the first look, which comes before anybody is answered. It ends when what is returned is dropped.
pub(super) fn begin(app: &Arc<App>) -> JoinSet<()> {
    let mut chores = JoinSet::new();
    chores.spawn(look_again(Arc::clone(app)).in_current_span());
    chores.spawn(tidy_up(Arc::clone(app)).in_current_span());
    chores.spawn(trim(Arc::clone(app)).in_current_span());
    chores
}

/// Makes the daemon small again after work.
async fn tidy_up(app: Arc<App>) {
    loop {
        app.operations.one_ended().await;
        // What works without a pause would be slowed down for nothing.
        tokio::time::sleep(TIDY_PAUSE).await;
        let _ = crate::task::blocking(memory::give_back).await;
    }
}

/// Keeps what guests write within its bounds.
async fn trim(app: Arc<App>) {
    let mut tick = interval(TRIM_PERIOD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        app.host.tidy().await;
    }
}

/// One look at everything that may need mending. False when it could not look at the VMs.
pub(super) async fn look(app: &App) -> bool {
    let span = tracing::info_span!("reconcile", op = %crate::clock::new_op());
    async {
        let reconciled = reconcile::all(app).await;
        if let Err(error) = &reconciled {
            tracing::error!(error = error as &dyn std::error::Error, "not reconciled");
        }
        match app.prepare.prune_images(app.image_users()).await {
            Ok(gone) if gone.is_empty() => {}
            Ok(gone) => tracing::info!(?gone, "images without a name were removed"),
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "images were not pruned"),
        }
        match app.prepare.prune_kernels(app.kernel_users()).await {
            Ok(gone) if gone.is_empty() => {}
            Ok(gone) => tracing::info!(?gone, "kernels without a name were removed"),
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "kernels were not pruned"),
        }
        match app.prepare.prune_initramfs().await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "files of the initramfs that nothing boots any more were removed"),
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "the initramfs was not pruned"),
        }
        let store = app.prepare.store().clone();
        match crate::task::blocking(move || store.sweep_staging()).await {
            Some(Ok(0)) | None => {}
            Some(Ok(count)) => tracing::info!(count, "left-over work was swept"),
            Some(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "left-over work was not swept")
            }
        }
        reconciled.is_ok()
    }
    .instrument(span)
    .await
}

async fn look_again(app: Arc<App>) {
    let mut tick = interval(reconcile::PERIOD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is at once, and that look has been had.
    tick.tick().await;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            // What was busy may be so no more.
            () = app.unsettled.notified() => tokio::time::sleep(MEND_PAUSE).await,
        }
        look(&app).await;
    }
}
