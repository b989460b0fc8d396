//! An examination of this host: whether each tool, device, permission and setting is as VMs need it, and what to do about
//! what is not. Looks and never changes anything, but for [`throwaway`], which boots a VM and takes it away again.

mod confinement;
mod passt;
mod programs;
mod system;
mod throwaway;

pub(crate) use throwaway::boot;

use crate::App;
use banger_model::api::doctor::{Check, Outcome};

/// Looks at everything that can be looked at without booting; hands each finding out as it comes.
pub(crate) async fn look(app: &App, found: &mut (dyn FnMut(Check) + Send)) {
    found(system::configuration(app));
    found(system::defaults(app));
    system::folders(app).into_iter().for_each(&mut *found);
    found(system::memory(app).await);
    found(system::disks(app).await);
    found(system::kvm());
    found(confinement::walls());
    found(confinement::limits(app));
    programs::vmms(app).await.into_iter().for_each(&mut *found);
    programs::beside().into_iter().for_each(&mut *found);
    found(passt::network(app).await);
    programs::recipes().await.into_iter().for_each(found);
}

fn pass(name: &str, detail: impl Into<String>) -> Check {
    Check { name: name.into(), outcome: Outcome::Pass, detail: detail.into(), fix: None }
}

fn warn(name: &str, detail: impl Into<String>, fix: impl Into<String>) -> Check {
    Check { name: name.into(), outcome: Outcome::Warn, detail: detail.into(), fix: Some(fix.into()) }
}

fn fail(name: &str, detail: impl Into<String>, fix: impl Into<String>) -> Check {
    Check { name: name.into(), outcome: Outcome::Fail, detail: detail.into(), fix: Some(fix.into()) }
}
