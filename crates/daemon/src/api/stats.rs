//! What a running VM uses, over HTTP.

use super::{
    error::Failure,
    extract::{Path, Query},
    vms,
};
use crate::App;
use axum::extract::State;
use banger_model::{
    api::{
        error::ErrorBody,
        stats::{CpuStats, MemoryStats, VmStats},
    },
    vm::Status,
};
use serde::Deserialize;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Over how long processors are watched, in milliseconds, unless the client says otherwise.
const INTERVAL_MS: u32 = 1000;
/// And at most.
const LONGEST_MS: u32 = 60_000;

/// How a VM is looked at.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StatsQuery {
    /// Over how many milliseconds the use of processors is measured, at most 60000; the answer takes as long. With 0 it is left
    /// out.
    #[serde(default = "interval")]
    #[param(default = 1000)]
    interval_ms: u32,
}

fn interval() -> u32 {
    INTERVAL_MS
}

/// What a running VM uses.
#[utoipa::path(
    get, path = "/vms/{name}/stats", tag = "vms",
    params(("name" = String, Path, description = "The VM"), StatsQuery),
    responses((status = 200, body = VmStats), (status = "default", body = ErrorBody)),
)]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    Query(query): Query<StatsQuery>,
) -> Result<axum::Json<VmStats>, Failure> {
    let vm = app.named(&vms::parse(&name)?).await?;
    let status = app.status(&vm);
    let boot = match (&vm.boot, status) {
        (Some(boot), Status::Running) => boot,
        _ => return Err(Failure::NotRunning { vm: vm.name, status }),
    };
    let failed = |source| Failure::Stats { vm: vm.name.clone(), source };
    let wait = Duration::from_millis(query.interval_ms.min(LONGEST_MS).into());
    let mut watched = None;
    if !wait.is_zero() {
        let (begun, before) = (Instant::now(), app.host.processor_time(vm.id).await.map_err(failed)?);
        tokio::time::sleep(wait).await;
        watched = Some((begun, before));
    }
    let usage = app.host.usage(vm.id).await.map_err(failed)?;
    let percent = watched.map(|(begun, before)| percent(usage.host.cpu.saturating_sub(before), begun.elapsed()));
    let at_ms = crate::clock::now_ms();
    Ok(axum::Json(VmStats {
        id: vm.id,
        name: vm.name,
        at_ms,
        uptime_ms: at_ms.saturating_sub(boot.started_ms),
        cpu: CpuStats { used_ms: u64::try_from(usage.host.cpu.as_millis()).unwrap_or(u64::MAX), percent },
        memory: MemoryStats {
            assigned: vm.spec.memory,
            resident: usage.host.resident,
            proportional: usage.host.proportional,
            guest: usage.guest,
        },
        disks: usage.disks,
        vsock: usage.vsock,
    }))
}

/// To one decimal place.
fn percent(used: Duration, elapsed: Duration) -> f64 {
    let share = used.as_secs_f64() / elapsed.as_secs_f64().max(f64::EPSILON);
    (share * 1000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_a_processor() {
        let ms = Duration::from_millis;
        assert_eq!(percent(ms(250), ms(1000)), 25.0);
        assert_eq!(percent(ms(2000), ms(1000)), 200.0);
        assert_eq!(percent(ms(0), ms(0)), 0.0);
        assert_eq!(percent(ms(1), ms(3000)), 0.0);
    }
}
