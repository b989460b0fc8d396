//! A process that tells what it does while it does it: each program that it runs, and what it waits for. Whoever ends it
//! because it hangs finds the reason in its last line.
//!
//! Silent until [`begin`]: Rust's own test runner would mix what several tests in one process tell.

use std::{cell::Cell, sync::OnceLock, time::Instant};

static START: OnceLock<Instant> = OnceLock::new();

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// From now on, this process tells.
pub fn begin() {
    START.get_or_init(Instant::now);
}

/// Tells it, with the time since [`begin`].
pub fn tell(text: impl FnOnce() -> String) {
    if let Some(start) = START.get()
        && !QUIET.get()
    {
        println!("{:6.1} s  {}", start.elapsed().as_secs_f64(), text());
    }
}

/// Does it without a word: it is done again and again, and what for has been told.
pub fn quietly<T>(step: impl FnOnce() -> T) -> T {
    let before = QUIET.replace(true);
    let value = step();
    QUIET.set(before);
    value
}
