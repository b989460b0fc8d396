//! The agent's service: one thread that waits for everything at once.
//!
//! Owns: sessions with the host ([`link`]), the tasks they started ([`task`]), the process of the next one ([`spare`]), and the loop that moves bytes between them
//! ([`event_loop`]). Must not block on anything but its one wait, touch the guest's file system (a hung mount must hang only
//! the command that touches it: forked children do all of that, see [`launch`]), or hold more bytes for a stream than its
//! window allows.

mod event_loop;
mod launch;
mod link;
mod output;
mod pid1;
mod poller;
mod ports;
mod spare;
mod stdin;
mod task;

pub(crate) use event_loop::Service;
pub(crate) use pid1::{Order, Received, pair as control_pair};
