//! Where a program is, and why it could not be run.
//!
//! Owns: the candidates that a name stands for under a `PATH`, and the reading of exec's errors into a [`Refusal`]. Must not
//! guess: the candidates are tried by exec itself, as the user that runs them, and only an error is explained here.

use banger_model::wire::guest::Refusal;
use rustix::fs::{FileType, Mode, OFlags, open, stat};
use rustix::io::Errno;
use std::io;
use std::path::{Path, PathBuf};

/// What is searched when the environment has no `PATH`.
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The files that `name` may mean, in order. A name with a slash means itself; an empty folder of `path` is the working one.
pub(crate) fn candidates(name: &str, path: &str) -> Vec<PathBuf> {
    match name {
        "" => Vec::new(),
        _ if name.contains('/') => vec![PathBuf::from(name)],
        _ => path.split(':').map(|folder| Path::new(folder).join(name)).collect(),
    }
}

/// Keeps, over the candidates tried in turn, the error that says most.
#[derive(Debug)]
pub(crate) struct Attempts<'a> {
    program: &'a str,
    worst: Option<(PathBuf, io::Error)>,
}

impl<'a> Attempts<'a> {
    /// No candidate of `program` tried yet.
    pub(crate) fn new(program: &'a str) -> Self {
        Self { program, worst: None }
    }

    /// Takes down that `candidate` could not be run. Says whether the search goes on, which it does as `execvp` has it.
    pub(crate) fn failed(&mut self, candidate: &Path, error: io::Error) -> bool {
        let goes_on = matches!(Errno::from_io_error(&error), Some(Errno::ACCESS | Errno::NOENT | Errno::NOTDIR));
        let forbidden = Errno::from_io_error(&error) == Some(Errno::ACCESS);
        // A folder of PATH that may not be searched is as good as empty; a file named outright is what was asked for.
        let there = !goes_on || stat(candidate).is_ok() || (forbidden && self.program.contains('/'));
        if there && (self.worst.is_none() || !goes_on) {
            self.worst = Some((candidate.to_owned(), error));
        }
        goes_on
    }

    /// The refusal, once nothing is left to try.
    pub(crate) fn refusal(self) -> Refusal {
        let program = self.program.to_owned();
        match self.worst {
            None => Refusal::NotFound { program },
            Some((file, error)) => Refusal::NotExecutable { program, reason: explain(&file, &error) },
        }
    }
}

fn explain(file: &Path, error: &io::Error) -> String {
    let kind = stat(file).map(|s| FileType::from_raw_mode(s.st_mode));
    let shown = file.display();
    match (Errno::from_io_error(error), kind) {
        (Some(Errno::ACCESS), Ok(FileType::Directory)) => format!("{shown} is a folder"),
        (Some(Errno::ACCESS), _) => format!("no permission to execute {shown}"),
        (Some(Errno::NOENT), Ok(_)) => match interpreter(file) {
            Some(interpreter) => format!("{shown} needs {interpreter}, which is not there"),
            None => format!("{shown} needs an interpreter or loader that is not there"),
        },
        (Some(Errno::NOEXEC), _) => {
            format!("{shown} is neither a program of this architecture nor a script with a #! line")
        }
        _ => format!("{shown}: {error}"),
    }
}

/// The interpreter named on a script's first line.
fn interpreter(file: &Path) -> Option<String> {
    let script = open(file, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty()).ok()?;
    let mut head = [0; 256];
    let length = rustix::io::read(&script, &mut head).ok()?;
    let line = head[..length].strip_prefix(b"#!")?.split(|b| *b == b'\n').next()?;
    String::from_utf8_lossy(line).split_whitespace().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_searched_and_a_path_is_not() {
        let found = |name, path| candidates(name, path).iter().map(|p| p.display().to_string()).collect::<Vec<_>>();
        assert_eq!(found("ls", "/a:/b"), ["/a/ls", "/b/ls"]);
        assert_eq!(found("ls", "/a::/b"), ["/a/ls", "ls", "/b/ls"]);
        assert_eq!(found("./ls", "/a:/b"), ["./ls"]);
        assert_eq!(found("", "/a:/b"), [""; 0]);
    }
}
