//! The guest's agent: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    banger_agent::run(std::env::args_os())
}
