//! Talking to the agent in a guest: one byte stream, many channels.
//!
//! Every byte that comes from the guest is hostile until it has been decoded and accounted for: a frame that does not
//! parse, or one that the protocol does not allow on its channel ([`inbox`]), ends the session, and with it whatever ran
//! on it. What a session holds for a channel is bounded by the window, whoever does not read.

mod channel;
mod inbox;
mod session;

pub(crate) use channel::{Channel, Incoming};
pub(crate) use inbox::Violation;
pub(crate) use session::{STALL_BOUND, Session, SessionError};
