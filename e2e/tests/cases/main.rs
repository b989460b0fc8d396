//! What banger promises, told as short stories on real parts. One file for each topic; one program for all, so that the
//! images, the registry and the kernel are made once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where it fails")]

mod api;
mod copy;
mod crash;
mod daemon;
mod debian;
mod exec;
mod faults;
mod groups;
mod guest;
mod host;
mod images;
mod kernels;
mod kills;
mod life;
mod network;
mod run;
mod shared;
mod speech;
mod streams;
mod typing;
mod usage;
mod vmms;
