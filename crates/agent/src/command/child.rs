//! The forked child's way to its exec.
//!
//! Owns: everything that is done to the new process before its program runs, in the one order that works: session and
//! terminal, streams, working folder (as root, as container engines do), limits, identity, signals, exec. Each step that
//! fails is a [`Refusal`] for the parent to send; nothing here touches the parent.

use super::program::{Attempts, DEFAULT_PATH, candidates};
use super::user::{self, Identity};
use crate::sys;
use banger_model::wire::guest::{Exec, Refusal};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Gid, Mode, OFlags, Uid, mkdir, open, stat};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};
use std::ffi::{CStr, CString};
use std::fmt::Display;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// What a command sees as its three streams.
#[derive(Debug)]
pub(crate) enum Stdio {
    /// Pipes, or whatever else: one descriptor for each.
    Three([OwnedFd; 3]),
    /// A terminal, which the command gets to control.
    Terminal(OwnedFd),
}

/// The shell of a user who has none.
const DEFAULT_SHELL: &str = "/bin/sh";
/// What a command may have open unless it asks for more: what login sessions have.
const SOFT_OPEN_FILES: u64 = 1024;

/// A process that is all that a command's is, whichever command that will be: a session of its own, its streams, its limits.
#[derive(Debug)]
pub(crate) struct Blank(());

impl Blank {
    /// Makes this process, a fork of the agent, one.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn settle(stdio: Stdio) -> Result<Self, Refusal> {
        take_streams(stdio).map_err(|e| failed("the command's streams", e))?;
        rustix::process::umask(Mode::from_raw_mode(0o022));
        lower_limits();
        sys::reset_signals();
        sys::close_descriptors_on_exec();
        Ok(Self(()))
    }

    /// Makes this process the command. Only comes back when it cannot be.
    pub(crate) fn become_command(self, exec: &Exec) -> Refusal {
        match prepare(exec) {
            Ok(prepared) => run(prepared),
            Err(refusal) => refusal,
        }
    }

    /// Has the command read from there.
    ///
    /// # Errors
    /// When there is nothing to read from, or the kernel refuses.
    pub(crate) fn read_from(&self, stdin: rustix::io::Result<OwnedFd>) -> Result<(), Refusal> {
        stdin.and_then(rustix::stdio::dup2_stdin).map_err(|e| failed("the command's stdin", e))
    }
}

/// What has no end to what it takes, and nothing to give.
///
/// # Errors
/// When there is no `/dev/null`.
pub(crate) fn null() -> rustix::io::Result<OwnedFd> {
    open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}

/// Makes this process, a fork of the agent, one that works on the guest's files for a copy: a session of its own, its three
/// streams, no descriptor of the agent's but `keep`.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn become_worker(stdio: Stdio, keep: &OwnedFd) -> rustix::io::Result<()> {
    take_streams(stdio)?;
    sys::reset_signals();
    sys::ignore(&[libc::SIGPIPE]);
    rustix::process::umask(Mode::empty());
    lower_limits();
    sys::close_all_but(&[keep]);
    Ok(())
}

struct Prepared {
    /// What is looked for.
    program: String,
    argv: Vec<CString>,
    env: Vec<CString>,
    path: String,
    identity: Identity,
}

fn prepare(exec: &Exec) -> Result<Prepared, Refusal> {
    let read = |file| std::fs::read(file).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
    let (passwd, group) = (read("/etc/passwd"), read("/etc/group"));
    let identity =
        user::resolve(&exec.user, &passwd, &group).ok_or_else(|| Refusal::UnknownUser { user: exec.user.clone() })?;
    let env = environment(exec, &identity);
    let path = env.iter().find_map(|e| e.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH).to_owned();
    let (program, argv) = program(exec, &identity);
    let argv = argv.iter().map(|a| c_string("argument", a)).collect::<Result<Vec<_>, _>>()?;
    let env = env.iter().map(|e| c_string("environment variable", e)).collect::<Result<Vec<_>, _>>()?;

    if exec.tty.is_some() {
        let (terminal, owner) = (rustix::stdio::stdin(), Uid::from_raw(identity.uid));
        let group = user::group_id("tty", &group).map(Gid::from_raw);
        // A terminal that the command cannot open by name is still a terminal.
        let _ = rustix::fs::fchown(terminal, Some(owner), group);
        let _ = rustix::fs::fchmod(terminal, Mode::from_raw_mode(0o620));
    }
    enter(&exec.workdir)?;
    Ok(Prepared { program, argv, env, path, identity })
}

/// What is looked for, and the arguments it gets. Without a command that is the user's login shell, told by a hyphen in
/// its own name that it is one; a shell that is not there is replaced by the one that every system has.
fn program(exec: &Exec, identity: &Identity) -> (String, Vec<String>) {
    if let Some(program) = exec.argv.first() {
        return (program.clone(), exec.argv.clone());
    }
    let shell = Some(&identity.shell).filter(|shell| Path::new(shell).is_file()).map_or(DEFAULT_SHELL, String::as_str);
    let name = shell.rsplit('/').next().unwrap_or(shell);
    (shell.to_owned(), vec![format!("-{name}")])
}

fn run(prepared: Prepared) -> Refusal {
    let Prepared { program, argv, env, path, identity } = prepared;
    if let Err(error) = assume(&identity) {
        return failed("changing to the command's user", error);
    }
    let argv: Vec<&CStr> = argv.iter().map(CString::as_c_str).collect();
    let env: Vec<&CStr> = env.iter().map(CString::as_c_str).collect();
    let mut attempts = Attempts::new(&program);
    let candidates = candidates(&program, &path);
    let several = candidates.len() > 1;
    for candidate in candidates {
        // An exec costs ten times as much as a look, also one that fails.
        if several && matches!(stat(&candidate), Err(Errno::NOENT | Errno::NOTDIR)) {
            continue;
        }
        let Ok(file) = CString::new(candidate.as_os_str().as_bytes()) else { continue };
        if !attempts.failed(&candidate, sys::execve(&file, &argv, &env)) {
            break;
        }
    }
    attempts.refusal()
}

/// The command's environment: what was asked for, and what no command should miss.
fn environment(exec: &Exec, identity: &Identity) -> Vec<String> {
    let mut env = exec.env.clone();
    let mut default = |name: &str, value: &str| {
        if !env.iter().any(|e| e.strip_prefix(name).is_some_and(|rest| rest.starts_with('='))) {
            env.push(format!("{name}={value}"));
        }
    };
    default("PATH", DEFAULT_PATH);
    default("HOME", &identity.home);
    default("USER", &identity.name);
    if exec.argv.is_empty() {
        default("SHELL", &program(exec, identity).0);
    }
    if exec.tty.is_some() {
        default("TERM", "xterm");
    }
    env
}

fn take_streams(stdio: Stdio) -> rustix::io::Result<()> {
    rustix::process::setsid()?;
    let [stdin, stdout, stderr] = match &stdio {
        Stdio::Three([stdin, stdout, stderr]) => [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
        Stdio::Terminal(terminal) => {
            rustix::process::ioctl_tiocsctty(terminal)?;
            [terminal.as_fd(); 3]
        }
    };
    rustix::stdio::dup2_stdin(stdin)?;
    rustix::stdio::dup2_stdout(stdout)?;
    rustix::stdio::dup2_stderr(stderr)
}

/// Goes to the working folder, making it and its parents when missing.
fn enter(workdir: &str) -> Result<(), Refusal> {
    let folder = Path::new("/").join(workdir);
    let refused = |e: Errno| Refusal::Workdir { path: workdir.to_owned(), reason: e.to_string() };
    match rustix::process::chdir(&folder) {
        Err(Errno::NOENT) => {}
        other => return other.map_err(refused),
    }
    let parents: Vec<&Path> = folder.ancestors().collect();
    for part in parents.into_iter().rev() {
        match mkdir(part, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST | Errno::ROFS) => {}
            Err(error) => return Err(refused(error)),
        }
    }
    rustix::process::chdir(&folder).map_err(refused)
}

/// Undoes what the agent has that a command should not: being spared by the out-of-memory killer, its many descriptors, and
/// giving way to whatever runs.
fn lower_limits() {
    sys::schedule(sys::Waking::Preempts);
    if let Ok(score) = open("/proc/self/oom_score_adj", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()) {
        let _ = rustix::io::write(&score, b"0");
    }
    let now = rustix::process::getrlimit(Resource::Nofile);
    let soft = now.current.map_or(SOFT_OPEN_FILES, |have| have.min(SOFT_OPEN_FILES));
    let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: Some(soft), maximum: now.maximum });
}

fn assume(identity: &Identity) -> rustix::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    let groups: Vec<Gid> = identity.groups.iter().copied().map(Gid::from_raw).collect();
    if !rustix::process::geteuid().is_root() && uid == rustix::process::geteuid() {
        // Already that user and not root, so there is nothing to give up; only root may name groups.
        return Ok(());
    }
    rustix::thread::set_thread_groups(&groups)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}

fn c_string(what: &str, text: &str) -> Result<CString, Refusal> {
    CString::new(text).map_err(|e| failed(&format!("{what} {text:?}"), e))
}

fn failed(what: &str, reason: impl Display) -> Refusal {
    Refusal::Failed { what: what.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_command_is_the_login_shell() {
        let of = |argv: &[&str], shell: &str| {
            let exec = Exec { argv: argv.iter().map(|a| (*a).to_owned()).collect(), ..Exec::default() };
            let mut identity = user::resolve("", "", "").expect("root needs no file");
            identity.shell = shell.to_owned();
            program(&exec, &identity)
        };
        assert_eq!(of(&["ls", "-l"], "/bin/sh"), ("ls".into(), vec!["ls".into(), "-l".into()]));
        assert_eq!(of(&[], "/bin/cat"), ("/bin/cat".into(), vec!["-cat".into()]));
        assert_eq!(of(&[], "/no/such/shell"), ("/bin/sh".into(), vec!["-sh".into()]));
        assert_eq!(of(&[], ""), ("/bin/sh".into(), vec!["-sh".into()]));
    }
}
