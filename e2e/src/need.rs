//! What a test needs and this machine may lack. A test that cannot run says so loudly: the runner hides what a passing
//! test prints, so this goes to the process's standard error itself.

use std::io::Write;

/// Ends the test as skipped, naming it and the reason: `skip!("name", "why")`.
#[macro_export]
macro_rules! skip {
    ($name:expr, $($why:tt)*) => {{
        $crate::need::say_skipped($name, &format!($($why)*));
        return;
    }};
}

/// Prints the line that `.ci/run` counts.
pub fn say_skipped(name: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "\nSKIPPED: {name}: {why}");
}

/// Whether this is root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
