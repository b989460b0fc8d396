//! The suite as users run it: many things done on one host at once, through the `banger` program alone.
//!
//! One round has a home and a daemon of its own, and all its scenarios are that user's: they meet in the daemon, in the store and
//! on the processors. A [`scenario`] is a process, so that its output is told whole and one that hangs is ended without the
//! others; [`queue`] says which may run now. At the end of a round nothing may be left.
//!
//! ```text
//! table ─ choose ─► queue ─► attempt: one process a scenario ──► report
//!                     └ round: the home, the workers, the check at the end
//! ```
//!
//! Owns: running scenarios and telling how they went. Must not: know what any of them is about (`bin/smoke`), or let one see
//! more of banger than a user does ([`user`]).

pub mod attempt;
pub mod evidence;
pub mod queue;
pub mod report;
pub mod round;
pub mod scenario;
pub mod user;

pub use queue::Class;
pub use scenario::Scenario;
pub use user::User;
