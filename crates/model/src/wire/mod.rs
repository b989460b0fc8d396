//! Framed streams: between daemon and guest agent, and between client and daemon once a request has been upgraded.
//!
//! Both legs speak the same [`Frame`]s, so the daemon forwards a command's bytes without owning any of them. Flow control
//! is end to end: whoever produces data may have at most a window's worth unacknowledged by whoever consumes it, so no
//! party in between ever holds more than that.

pub mod boot_module;
pub mod frame;
pub mod guest;
pub mod hello;

pub use frame::{Body, DecodeError, Decoder, Frame, Stream};
