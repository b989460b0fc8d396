//! Starting a process that outlives us, of which a record exists before it does anything.
//!
//! A daemon may be killed between any two of its instructions. So the child waits before it becomes the program: the parent
//! writes the record and only then lets it go on. Until then the kernel kills the child with its parent. Whatever moment
//! the parent dies at, there is either no process, or one that its record leads to.
//!
//! Last of all, right before its exec, the child goes into its [`Confinement`].

#![allow(unsafe_code)]

use crate::confine::{ConfineError, Confinement, Ready, cgroup};
use crate::pidfd::PidFd;
use crate::record::{Identity, Record, RecordError};
use rustix::io::Errno;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal, setsid, umask};
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program and what it is given.
pub(crate) struct Plan<'a> {
    pub(crate) program: &'a Path,
    pub(crate) args: Vec<OsString>,
    pub(crate) stdout: Stdio,
    pub(crate) stderr: Stdio,
    /// The one descriptor that it gets beside its standard ones, under the number that it has here.
    pub(crate) inherited: Option<OwnedFd>,
    /// What it may still do.
    pub(crate) confinement: Confinement,
    /// Where the record goes.
    pub(crate) record: &'a Path,
    /// The control group that it is to be in.
    pub(crate) cgroup: Option<&'a Path>,
}

/// A process that was not started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The system refused.
    #[error("cannot run {}", program.display())]
    Run {
        /// The program's file.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It was not let go, as it could not have been confined.
    #[error("cannot confine {}", program.display())]
    Confine {
        /// The program's file.
        program: PathBuf,
        /// Why.
        source: ConfineError,
    },
    /// It was not let go, as its control group did not take it.
    #[error("cannot put {} into its control group", program.display())]
    Group {
        /// The program's file.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It was not let go on, as nothing would have led to it.
    #[error(transparent)]
    Record(#[from] RecordError),
}

const GO: u8 = b'g';
const STOP: u8 = b's';

/// Starts the process in a session of its own, with no rights to gain, no core dumps, an empty environment and no file
/// but its three standard ones and the one it inherits; stdin is empty. `describe` makes its record. Blocks for as long as a fork, an exec and a
/// small file take.
pub(crate) fn spawn<R: Record + Send>(
    plan: Plan<'_>,
    describe: impl FnOnce(Identity) -> R + Send,
) -> Result<(R, PidFd), SpawnError> {
    let program = plan.program;
    let failed = |source| SpawnError::Run { program: program.into(), source };
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    let parent = getpid();
    let mut command = Command::new(program);
    command.args(plan.args).env_clear().current_dir("/");
    command.stdin(Stdio::null()).stdout(plan.stdout).stderr(plan.stderr);
    let mut ready =
        plan.confinement.prepare().map_err(|source| SpawnError::Confine { program: program.into(), source })?;
    let inherited = plan.inherited;
    // SAFETY: `become_program` runs between fork and exec in a copy of a process with many threads. It makes system calls
    // only, on descriptors that the copy owns; it takes no lock and allocates nothing.
    unsafe { command.pre_exec(move || become_program(parent, &theirs, inherited.as_ref(), &mut ready)) };

    std::thread::scope(|scope| {
        let path = plan.record;
        let enrol = |pid| match plan.cgroup {
            Some(group) => {
                cgroup::place(group, pid).map_err(|source| SpawnError::Group { program: program.into(), source })
            }
            None => Ok(()),
        };
        let keeper = scope.spawn(move || admit(ours, path, enrol, describe));
        // Returns once the child has become the program, or failed to.
        let spawned = command.spawn().map_err(failed);
        // The command holds our copy of the child's end: the keeper must see the end of a child that is gone.
        drop(command);
        let admitted = keeper.join().unwrap_or_else(|_| Err(failed(Errno::CHILD.into())));
        match (spawned, admitted) {
            (Ok(_), Ok(Some(process))) => Ok(process),
            // It was refused because it could not be recorded or enrolled; that is the cause.
            (_, Err(cause)) => {
                let _ = std::fs::remove_file(path);
                Err(cause)
            }
            (Err(cause), Ok(_)) => {
                // Best effort: a record of a process that never was proves nothing and is dropped by whoever reads it.
                let _ = std::fs::remove_file(path);
                Err(cause)
            }
            (Ok(_), Ok(None)) => Err(failed(Errno::CHILD.into())),
        }
    })
}

/// The parent's half: learns who waits at the gate, writes it down, puts it where it belongs, opens. None when nobody came.
fn admit<R: Record>(
    mut gate: UnixStream,
    path: &Path,
    enrol: impl FnOnce(i32) -> Result<(), SpawnError>,
    describe: impl FnOnce(Identity) -> R,
) -> Result<Option<(R, PidFd)>, SpawnError> {
    let mut pid = [0; 4];
    if gate.read_exact(&mut pid).is_err() {
        return Ok(None);
    }
    let number = i32::from_ne_bytes(pid);
    let written = (|| {
        let process = |source| RecordError::Process { pid: number, source };
        let gone = || process(Errno::SRCH.into());
        let pid = Pid::from_raw(number).ok_or_else(gone)?;
        let pidfd = PidFd::open(pid).map_err(process)?.ok_or_else(gone)?;
        let record = describe(Identity::of(pid).map_err(process)?);
        record.write(path)?;
        enrol(number)?;
        Ok::<_, SpawnError>((record, pidfd))
    })();
    // If nobody reads this any more, the child has died, and its exit will tell.
    let _ = gate.write_all(&[if written.is_ok() { GO } else { STOP }]);
    written.map(Some)
}

/// The child's half, between fork and exec.
fn become_program(parent: Pid, gate: &UnixStream, inherited: Option<&OwnedFd>, ready: &mut Ready) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have died before that call, and then nobody would kill us.
    if getppid() != Some(parent) {
        return Err(Errno::CHILD.into());
    }
    setsid()?;
    umask(rustix::fs::Mode::from_bits_truncate(0o077));
    rustix::thread::set_no_new_privs(true)?;
    // Whatever some library opened without O_CLOEXEC stays out of the program.
    // SAFETY: it changes a flag of descriptors in this process, which nothing else runs in.
    let closed = unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC.cast_signed()) };
    if closed != 0 {
        return Err(io::Error::last_os_error());
    }
    if let Some(inherited) = inherited {
        fcntl_setfd(inherited, FdFlags::empty())?;
    }
    (&*gate).write_all(&getpid().as_raw_nonzero().get().to_ne_bytes())?;
    let mut answer = [STOP];
    (&*gate).read_exact(&mut answer)?;
    if answer != [GO] {
        return Err(Errno::CANCELED.into());
    }
    set_parent_process_death_signal(None)?;
    ready.enter()
}
