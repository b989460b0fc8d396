//! `bangerd`, the daemon: intent, decisions and orchestration. The only part of banger with state.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod app;
mod boot_files;
mod clock;
mod config;
mod db;
mod guest;
mod host;
mod host_facts;
mod leases;
mod op;
mod pending_image;
mod prepare;
mod reconcile;
mod resource;
mod slots;
mod verbs;

use app::App;

fn main() {}
