//! Talking to the agent in a guest: one byte stream, many channels.
//!
//! Every byte that comes from the guest is hostile until it has been decoded and accounted for: a frame that does not
//! parse, a channel that nobody opened, or more data than the window allows ends the session, and with it whatever ran on it.

mod session;

pub(crate) use session::{Channel, Incoming, Session, SessionError};
