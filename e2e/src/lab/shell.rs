//! A person in a kept lab: this terminal joined with the lab's second serial port.

use super::LabError;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use std::{
    io::{Read, Write, stdin, stdout},
    os::unix::net::UnixStream,
    path::Path,
};

/// What leaves it, as telnet does: Ctrl-].
const LEAVE: u8 = 0x1d;

/// Our terminal as it was, to be had back.
struct Raw(Option<Termios>);

impl Raw {
    fn begin() -> Self {
        let before = tcgetattr(stdin()).ok();
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            let _ = tcsetattr(stdin(), OptionalActions::Now, &raw);
        }
        Self(before)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(stdin(), OptionalActions::Now, before);
        }
    }
}

/// Joins them until the lab ends or Ctrl-] is typed.
///
/// # Errors
/// When the lab is not there.
pub fn attach(socket: &Path) -> Result<(), LabError> {
    let mut lab = UnixStream::connect(socket).map_err(LabError::io("reach", socket))?;
    println!("lab: Ctrl-] leaves");
    let raw = Raw::begin();
    let mut keys = lab.try_clone().map_err(LabError::io("use", socket))?;
    // A prompt that was shown before anybody looked.
    let _ = keys.write_all(b"\n");
    std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        while let Ok(length @ 1..) = stdin().read(&mut buffer) {
            if buffer[..length].contains(&LEAVE) || keys.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        let _ = keys.shutdown(std::net::Shutdown::Both);
    });
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = lab.read(&mut buffer) {
        let mut out = stdout();
        if out.write_all(&buffer[..length]).and_then(|()| out.flush()).is_err() {
            break;
        }
    }
    drop(raw);
    println!();
    Ok(())
}
