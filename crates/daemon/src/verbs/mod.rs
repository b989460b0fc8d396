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
