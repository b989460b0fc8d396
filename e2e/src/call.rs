//! One run of a program: always bounded, never left running, and told about in full when it did not do as expected.

use crate::{BOUND, narration};
use std::{
    ffi::{OsStr, OsString},
    io::{Read, Write},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// A program that is about to be run.
#[derive(Debug)]
#[must_use = "nothing runs until it is told to"]
pub struct Call {
    command: Command,
    words: Vec<OsString>,
    stdin: Option<Vec<u8>>,
    bound: Duration,
}

/// What it did.
#[derive(Debug)]
pub struct Output {
    words: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output, as text.
    pub stdout: String,
    /// The same as bytes.
    pub bytes: Vec<u8>,
    /// What it wrote to standard error, as text.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Call {
    /// A program with no arguments yet, the environment of this process, and nothing on standard input.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let command = Command::new(&program);
        Self { command, words: vec![program.as_ref().to_owned()], stdin: None, bound: BOUND }
    }

    /// Arguments, split at spaces.
    pub fn words(mut self, words: &str) -> Self {
        for word in words.split_whitespace() {
            self = self.arg(word);
        }
        self
    }

    /// One argument as it is.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(&arg);
        self.words.push(arg.as_ref().to_owned());
        self
    }

    /// A variable.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// A variable less.
    pub fn without(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// These variables and no other.
    pub fn only<K: AsRef<OsStr>, V: AsRef<OsStr>>(mut self, variables: impl IntoIterator<Item = (K, V)>) -> Self {
        self.command.env_clear().envs(variables);
        self
    }

    /// The folder it runs in.
    pub fn folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// What it reads.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// How long it may take, instead of [`BOUND`].
    pub fn within(mut self, bound: Duration) -> Self {
        self.bound = bound;
        self
    }

    /// For what is not a matter of words and input: pipes, terminals.
    pub fn into_command(self) -> Command {
        self.command
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it cannot be started, or does not end in time.
    pub fn run(self) -> Output {
        self.start().wait()
    }

    /// Runs it to its end, which must be a success.
    ///
    /// # Panics
    /// When it fails, or does not end in time.
    #[track_caller]
    pub fn succeeds(self) -> Output {
        let output = self.run();
        output.expect_status(0);
        output
    }

    /// Its words as a person would type them: the program without its folder.
    fn shown(&self) -> String {
        let name = Path::new(&self.words[0]).file_name().unwrap_or(&self.words[0]);
        let words = std::iter::once(name).chain(self.words[1..].iter().map(OsString::as_os_str));
        words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
    }

    /// Starts it, and comes back at once.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(mut self) -> Running {
        let words = self.words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let stdin = if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() };
        self.command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        narration::tell(|| format!("$ {}", self.shown()));
        let start = Instant::now();
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("cannot run {words}: {error}"));
        if let (Some(mut pipe), Some(bytes)) = (child.stdin.take(), self.stdin) {
            // A program need not read what it is given.
            std::thread::spawn(move || drop(pipe.write_all(&bytes)));
        }
        let pipes = Some([drain(child.stdout.take().unwrap()), drain(child.stderr.take().unwrap())]);
        Running { child, words, start, bound: self.bound, pipes }
    }
}

/// A program that runs. Dropped, it is killed.
#[derive(Debug)]
pub struct Running {
    child: Child,
    words: String,
    start: Instant,
    bound: Duration,
    pipes: Option<[JoinHandle<Vec<u8>>; 2]>,
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end in time, or leaves its output open to a process that stays.
    pub fn wait(mut self) -> Output {
        let ended = self.poll(|own| own.child.try_wait().unwrap());
        let took = self.start.elapsed();
        let Some([stdout, stderr]) = self.pipes.take() else { unreachable!("only taken here") };
        let Some(status) = ended else {
            let _ = self.child.kill();
            let _ = self.child.wait();
            let text = |pipe: JoinHandle<Vec<u8>>| String::from_utf8_lossy(&pipe.join().unwrap()).into_owned();
            panic!(
                "not done after {} s: {}\nstdout: {}\nstderr: {}",
                took.as_secs(),
                self.words,
                text(stdout),
                text(stderr)
            );
        };
        let closed = self.poll(|_| (stdout.is_finished() && stderr.is_finished()).then_some(()));
        assert!(closed.is_some(), "ended, but something still holds its output open: {}", self.words);
        let (bytes, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
        Output {
            words: std::mem::take(&mut self.words),
            status,
            stdout: String::from_utf8_lossy(&bytes).into_owned(),
            bytes,
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
            took,
        }
    }

    fn poll<T>(&mut self, mut ready: impl FnMut(&mut Self) -> Option<T>) -> Option<T> {
        let start = Instant::now();
        loop {
            match ready(self) {
                Some(value) => return Some(value),
                None if start.elapsed() > self.bound => return None,
                // An emulated processor has better things to do than to look.
                None => std::thread::sleep(
                    (start.elapsed() / 20).clamp(Duration::from_millis(5), Duration::from_millis(50)),
                ),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_running() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn drain(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

impl Output {
    /// It must have succeeded; gives its standard output without the last line's end.
    #[track_caller]
    pub fn ok(&self) -> &str {
        self.expect_status(0);
        self.stdout.trim_end_matches('\n')
    }

    /// It must have ended with that status.
    #[track_caller]
    pub fn expect_status(&self, status: i32) -> &Self {
        assert_eq!(self.status.code(), Some(status), "{self}");
        self
    }

    /// It must have failed, with all of these words somewhere in its standard error and no trace of a panic.
    #[track_caller]
    pub fn fails_with(&self, words: &[&str]) -> &Self {
        assert!(!self.status.success(), "it should have failed: {self}");
        self.says(words);
        assert!(!self.stderr.contains("panicked at"), "{self}");
        self
    }

    /// Its standard error must hold all of these words.
    #[track_caller]
    pub fn says(&self, words: &[&str]) -> &Self {
        for word in words {
            assert!(self.stderr.contains(word), "its standard error does not say {word:?}: {self}");
        }
        self
    }

    /// Its standard output as JSON, after success.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        self.expect_status(0);
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON ({error}): {self}"))
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cut = |text: &str| match text.char_indices().nth(8000) {
            Some((at, _)) => format!("{}…", &text[..at]),
            None => text.to_owned(),
        };
        let Self { words, status, stdout, stderr, took, .. } = self;
        write!(f, "{words}\n{status} after {took:.1?}\nstdout: {}\nstderr: {}", cut(stdout), cut(stderr))
    }
}
