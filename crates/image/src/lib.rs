//! placeholder
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
pub mod cancel;
pub mod initramfs;
pub mod kernel;
pub mod progress;
pub mod source;
pub mod store;
mod tool;
