//! A VMM that a guest has taken over: run in a VMM's place, it tries what must be refused and what must work, and says how each
//! went on its stdout, a line `NAME: done` or `NAME: refused (ERROR)` each. Driven by `tests/confine.rs`, which lays the
//! folders out.

#![allow(clippy::print_stdout, unsafe_code)]

mod attacks;
mod needs;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

/// Where everything lies, and whom to attack.
pub(crate) struct Scene {
    pub(crate) root: PathBuf,
    pub(crate) victim: i32,
    pub(crate) port: u16,
    pub(crate) abstract_name: String,
}

pub(crate) type Attempt = (&'static str, fn(&Scene) -> io::Result<()>);

impl Scene {
    /// The control socket is in `run` below the root, whichever VMM's arguments these are; the rest is in the initramfs.
    fn find() -> Option<Self> {
        let root = std::env::args().find_map(|argument| {
            let (before, _) = argument.split_once("/run/vmm.sock")?;
            Some(PathBuf::from(before.rsplit_once('=').map_or(before, |(_, path)| path)))
        })?;
        let text = std::fs::read_to_string(root.join("kernel/initramfs")).ok()?;
        let mut words = text.split_whitespace();
        let (victim, port) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Self { root, victim, port, abstract_name: words.next()?.into() })
    }
}

fn main() -> ExitCode {
    let Some(scene) = Scene::find() else { return ExitCode::FAILURE };
    for (name, attempt) in attacks::ALL.iter().chain(needs::ALL) {
        match attempt(&scene) {
            Ok(()) => println!("{name}: done"),
            Err(error) => println!("{name}: refused ({error})"),
        }
    }
    attacks::become_another_program();
    ExitCode::from(42)
}

/// What a system call returned.
pub(crate) fn outcome(result: i64) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
