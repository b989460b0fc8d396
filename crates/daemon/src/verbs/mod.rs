//! What users do to VMs, one file a verb, each in five headed blocks:
//!
//! 1. *validate*: pure; the request against the current status gives a typed refusal or go.
//! 2. *prepare*: shared, content-addressed work. Safe to abandon.
//! 3. *intend*: one transaction. The write-ahead point.
//! 4. *apply*: all host effects, along [`crate::resource::ORDER`].
//! 5. *settle*: one transaction closes the operation. Only then is the client answered.
//!
//! Create and start unwind when a step fails; stop and delete only go forward. The cause is never masked by what goes
//! wrong afterwards.

pub(crate) mod apply;
pub(crate) mod create;
pub(crate) mod delete;
mod error;
pub(crate) mod restart;
pub(crate) mod start;
pub(crate) mod stop;

pub(crate) use error::{VerbError, chain};

use crate::{App, db::VmRow, locks::Held, op::OpCx};
use banger_model::{
    VmName,
    vm::{Denied, Verb},
};

/// Whether a verb that asks for a status has anything to do.
enum Admitted {
    /// It has.
    Go(VmRow, Held),
    /// The VM is already as it should be, which the user is told and is no error.
    Already(VmRow),
}

/// [`App::admit`] for verbs that ask for a status rather than for a change.
async fn admit(app: &App, name: &VmName, verb: Verb, cx: &OpCx) -> Result<Admitted, VerbError> {
    match app.admit(name, verb).await {
        Err(VerbError::Denied { denied: Denied::Already(status), name, .. }) => {
            cx.note(format!("{name} is already {status}"));
            Ok(Admitted::Already(app.named(&name).await?))
        }
        admitted => admitted.map(|(vm, slot)| Admitted::Go(vm, slot)),
    }
}
