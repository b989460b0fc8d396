//! A program on a terminal, and a person who types and reads.

use crate::{BOUND, call::Call};
use rustix::{
    fs::OFlags,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    process::{Child, Command, ExitStatus},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// A running program and its terminal. Dropped, the program gets a hang-up.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    master: File,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Runs it as the only program of a terminal of 80 by 24.
    ///
    /// # Panics
    /// When no terminal can be had or the program not started.
    pub fn open(call: Call) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let no_control = i32::try_from(OFlags::NOCTTY.bits()).unwrap();
        let slave = OpenOptions::new().read(true).write(true).custom_flags(no_control).open(name).unwrap();
        let program = call.into_command();
        // `setsid --ctty` makes standard input its controlling terminal, as a terminal emulator does.
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(program.get_program()).args(program.get_args());
        command.env_clear().envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("TERM", "xterm");
        let end = || slave.try_clone().unwrap();
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let (master, seen) = (File::from(master), Arc::default());
        let terminal = Self { child, master, seen };
        terminal.resize(80, 24);
        terminal.listen();
        terminal
    }

    fn listen(&self) {
        let (mut master, seen) = (self.master.try_clone().unwrap(), Arc::clone(&self.seen));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = master.read(&mut buffer) {
                seen.lock().unwrap().extend(&buffer[..length]);
            }
        });
    }

    /// Another size, in characters.
    pub fn resize(&self, columns: u16, rows: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.master, size).unwrap();
    }

    /// Keys; Ctrl-C is `\x03`.
    pub fn types(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Everything shown so far.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    /// The lines that a person sees now, without empty ones below.
    pub fn screen(&self) -> Vec<String> {
        screen(&self.shown())
    }

    /// Waits until that text has been shown.
    #[track_caller]
    pub fn shows(&self, text: &str) {
        let start = Instant::now();
        while !self.shown().contains(text) {
            assert!(start.elapsed() < BOUND, "the terminal never showed {text:?}, but this:\n{}", self.shown());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for the program's end.
    #[track_caller]
    pub fn ends(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < BOUND, "the program on the terminal did not end:\n{}", self.shown());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a terminal makes of that text: lines, moves up and down, and erased lines. It is never scrolled and knows no colours.
fn screen(text: &str) -> Vec<String> {
    let mut lines: Vec<Vec<char>> = vec![Vec::new()];
    let (mut row, mut column) = (0_usize, 0_usize);
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\r' => column = 0,
            '\n' => row += 1,
            '\x1b' => {
                let mut parameter = String::new();
                let end = letters.by_ref().skip(1).find(|letter| {
                    let is_end = letter.is_ascii_alphabetic();
                    parameter.extend((!is_end).then_some(*letter));
                    is_end
                });
                match (end, parameter.parse().unwrap_or(0)) {
                    (Some('A'), up) => row = row.saturating_sub(up.max(1)),
                    (Some('B'), down) => row += down.max(1),
                    (Some('K'), 2) => lines[row].clear(),
                    (Some('K'), 0) => lines[row].truncate(column),
                    _ => {}
                }
            }
            letter => {
                let line = &mut lines[row];
                line.resize(line.len().max(column + 1), ' ');
                line[column] = letter;
                column += 1;
            }
        }
        lines.resize(lines.len().max(row + 1), Vec::new());
    }
    let mut lines: Vec<String> =
        lines.into_iter().map(|line| line.into_iter().collect::<String>().trim_end().to_owned()).collect();
    lines.truncate(lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1));
    lines
}

#[cfg(test)]
mod tests {
    use super::screen;

    #[test]
    fn a_screen_has_what_was_not_painted_over_or_erased() {
        let text = "one\r\n\x1b[1mtwo\x1b[0m\r\nthree\x1b[1A\r\x1b[2K2\r\n\r\x1b[2K\r\n\r\n";
        assert_eq!(screen(text), ["one", "2"]);
        assert_eq!(screen("abc\rX\x1b[K"), ["X"]);
    }
}
