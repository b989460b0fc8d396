//! What happens between a request to run something and the program that then runs.
//!
//! Owns: who the command runs as ([`user`]), where it is looked for ([`program`]) and the forked child's way to its exec
//! ([`child`]). Must not know of sessions, channels or frames: it gets a request and open descriptors.

pub(crate) mod child;
pub(crate) mod program;
pub(crate) mod user;
