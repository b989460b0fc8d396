//! `bangerd start`: sees to it that a daemon answers, and says why when none does.
//!
//! The daemon is `bangerd run` in a session of its own. It says on its standard output when its socket answers; if it
//! cannot come up, its last words are on its standard error. Another instance that holds the lock is waited for, be it on
//! its way up, and then it is the answer, or on its way down, and then its place is taken.

use super::{EXIT_TAKEN, StartError, paths};
use banger_model::api::API_PREFIX;
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    sync::mpsc::{RecvTimeoutError, channel},
    time::{Duration, Instant},
};

/// How long a daemon may take to come up. Clients give up at 60 s.
const BOUND: Duration = Duration::from_secs(50);
/// How long a daemon that is there may take to answer.
const ANSWER_BOUND: Duration = Duration::from_secs(5);
/// Another instance is on its way up or down: how soon to look again.
const PAUSE: Duration = Duration::from_millis(25);
/// The longest last words that are passed on, in bytes.
const MAX_WORDS: u64 = 64 << 10;

/// Returns once a daemon answers.
pub(crate) fn start() -> Result<(), StartError> {
    let paths = paths()?;
    let deadline = Instant::now() + BOUND;
    while !answers(&paths.socket()) {
        match launch(deadline)? {
            Launched::Answers => return Ok(()),
            Launched::Taken if Instant::now() < deadline => std::thread::sleep(PAUSE),
            Launched::Taken | Launched::Late => {
                return Err(StartError::Late { seconds: BOUND.as_secs(), log: paths.log() });
            }
        }
    }
    Ok(())
}

/// Whether a daemon answers; that it lets us connect says little about one that is about to end.
fn answers(socket: &Path) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(ANSWER_BOUND))?;
        stream.set_write_timeout(Some(ANSWER_BOUND))?;
        write!(stream, "GET {API_PREFIX}/daemon HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        Ok(answer == *b"HTTP/")
    };
    ask().unwrap_or(false)
}

enum Launched {
    Answers,
    Taken,
    Late,
}

fn launch(deadline: Instant) -> Result<Launched, StartError> {
    let program = std::env::current_exe().map_err(|source| StartError::OwnProgram { source })?;
    let failed = |source| StartError::Run { program: program.clone(), source };
    let mut child = Command::new(&program)
        .args(["run", "--detached"])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let (told, hear) = channel();
    if let Some(mut stdout) = child.stdout.take() {
        // Ends when the daemon has spoken, or has ended, or has let go of its output.
        std::thread::spawn(move || {
            let mut word = [0; 1];
            let _ = told.send(stdout.read(&mut word).is_ok_and(|n| n > 0));
        });
    }
    match hear.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(true) => return Ok(Launched::Answers),
        Ok(false) | Err(RecvTimeoutError::Disconnected) => {}
        Err(RecvTimeoutError::Timeout) => {
            // Our child, still ours to end: nobody else waits for it.
            let _ = child.kill();
            let _ = child.wait();
            return Ok(Launched::Late);
        }
    }
    let mut words = String::new();
    if let Some(stderr) = child.stderr.take() {
        let _ = stderr.take(MAX_WORDS).read_to_string(&mut words);
    }
    let status = child.wait().map_err(failed)?;
    if status.code() == Some(i32::from(EXIT_TAKEN)) {
        return Ok(Launched::Taken);
    }
    Err(StartError::Child { words: last_words(&words, status) })
}

fn last_words(words: &str, status: ExitStatus) -> String {
    match words.trim().trim_start_matches("error: ") {
        "" => format!("the daemon ended at once: {status}"),
        words => words.to_owned(),
    }
}
