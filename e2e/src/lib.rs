//! The framework of the end-to-end tests and the benchmarks: real programs on real parts, in folders of their own.
//!
//! A [`Sandbox`] is one user's home with its own daemon. Its end asserts that nothing is left: no process, no socket, no
//! file of a VM, no work in progress. A [`Call`] is one run of a program, always bounded. Images, a registry and a kernel
//! are made once per run ([`fixture`]) and shared without being changed. A test that cannot run here says so with
//! [`skip!`], past the runner's capture.
//!
//! Must not: link any part of the product. What is tested is what people get.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test that cannot go on stops where it is, with the reason"
)]

pub mod call;
pub mod fixture;
pub mod lab;
pub mod narration;
pub mod need;
pub mod place;
pub mod processes;
pub mod sandbox;
pub mod smoke;
pub mod surroundings;
pub mod terminal;
pub mod verdict;

pub use call::{Call, Output};
pub use sandbox::{Sandbox, Vm};

use std::time::{Duration, Instant};

/// The longest that one step may take: four times what a busy machine with two cores needs for a boot under emulation.
pub const BOUND: Duration = Duration::from_secs(120);

/// Waits until `ready` gives something.
///
/// # Panics
/// When it does not within [`BOUND`].
pub fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    narration::tell(|| format!("waiting for {what}"));
    let start = Instant::now();
    loop {
        if let Some(value) = narration::quietly(&mut ready) {
            return value;
        }
        assert!(start.elapsed() < BOUND, "waited {} s in vain for {what}", BOUND.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}
