//! The few kernel calls that no safe wrapper offers.
//!
//! Owns: every `unsafe` of this crate. Must not hold any policy: each function is one call, or one idiom of calls, with the
//! reason why it is sound. The agent is single-threaded by design (no module of it starts a thread), which is what makes
//! [`fork`] harmless.
#![allow(unsafe_code)]

use rustix::fd::{FromRawFd as _, OwnedFd};
use rustix::process::Pid;
use std::ffi::CStr;
use std::io;

/// Which side of a [`fork`] this is.
#[derive(Debug)]
pub(crate) enum Forked {
    /// The old process, with the id of the new one.
    Parent(Pid),
    /// The new process.
    Child,
}

/// Doubles the process.
///
/// # Errors
/// As `fork(2)`: no memory, or too many processes.
pub(crate) fn fork() -> io::Result<Forked> {
    // SAFETY: the process has one thread, so the child finds no lock held by a thread that it does not have.
    match unsafe { libc::fork() } {
        0 => Ok(Forked::Child),
        pid => Pid::from_raw(pid).filter(|_| pid > 0).map(Forked::Parent).ok_or_else(io::Error::last_os_error),
    }
}

/// Ends a forked child at once: nothing that belongs to the parent is flushed or dropped.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Becomes `program`; returns only with the reason why not.
pub(crate) fn execve(program: &CStr, argv: &[&CStr], env: &[&CStr]) -> io::Error {
    fn pointers(list: &[&CStr]) -> Vec<*const libc::c_char> {
        list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    }
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: all strings live past the call, and both lists end with a null pointer.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Gives every signal its default action and blocks none, as a new program expects it. Nothing of ours touches those above
/// 31, the real-time ones.
pub(crate) fn reset_signals() {
    // SAFETY: only plain C values are passed; signals that cannot be changed are refused by the kernel, harmlessly.
    unsafe {
        for signal in 1..=libc::SIGSYS {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Whether a process that wakes up may take the processor from the one that has it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Waking {
    /// It may, which is what every process begins with.
    Preempts,
    /// It waits until the other one waits, or has had its share.
    Waits,
}

/// Sets that for this process; its children inherit it.
pub(crate) fn schedule(waking: Waking) {
    let policy = match waking {
        Waking::Preempts => libc::SCHED_OTHER,
        Waking::Waits => libc::SCHED_BATCH,
    };
    let priority = libc::sched_param { sched_priority: 0 };
    // SAFETY: only plain C values are passed. Neither policy can be refused; if it were, things would only take longer.
    unsafe { libc::sched_setscheduler(0, policy, &raw const priority) };
}

/// Ignores these signals. With SIGPIPE among them, writing to a pipe that nobody reads is an error like any other.
pub(crate) fn ignore(signals: &[i32]) {
    for signal in signals {
        // SAFETY: only plain C values are passed.
        unsafe { libc::signal(*signal, libc::SIG_IGN) };
    }
}

/// Signals as a readable descriptor.
#[derive(Debug)]
pub(crate) struct Signals(OwnedFd);

impl Signals {
    /// Blocks `signals` for this process and collects them.
    ///
    /// # Errors
    /// As `signalfd(2)`.
    pub(crate) fn take(signals: &[i32]) -> io::Result<Self> {
        // SAFETY: the set is initialised by `sigemptyset` before use and outlives the calls; the descriptor is new and ours.
        unsafe {
            let mut set = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            for signal in signals {
                libc::sigaddset(&raw mut set, *signal);
            }
            libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
            match libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
                -1 => Err(io::Error::last_os_error()),
                fd => Ok(Self(OwnedFd::from_raw_fd(fd))),
            }
        }
    }

    /// The descriptor to poll.
    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.0
    }

    /// The next signal that came, if any.
    pub(crate) fn next(&self) -> Option<i32> {
        let mut record = [0; size_of::<libc::signalfd_siginfo>()];
        match rustix::io::read(&self.0, &mut record) {
            Ok(n) if n == record.len() => {
                let number = u32::from_ne_bytes([record[0], record[1], record[2], record[3]]);
                i32::try_from(number).ok()
            }
            _ => None,
        }
    }
}

/// The first real-time signal plus `n`: systemd's language for its PID 1.
pub(crate) fn realtime_signal(n: i32) -> i32 {
    libc::SIGRTMIN() + n
}

/// Sends any signal, by number, to one process.
///
/// # Errors
/// As `kill(2)`.
pub(crate) fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: only plain C values are passed.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Has every descriptor from 3 on closed by the next exec.
pub(crate) fn close_descriptors_on_exec() {
    // SAFETY: the flag only marks descriptors; none is closed now.
    unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC.cast_signed()) };
}

#[expect(clippy::cast_possible_truncation, reason = "address families are below 50")]
const VSOCK_FAMILY: libc::sa_family_t = libc::AF_VSOCK as libc::sa_family_t;
#[expect(clippy::cast_possible_truncation, reason = "16 bytes")]
const VSOCK_ADDRESS_LEN: libc::socklen_t = size_of::<libc::sockaddr_vm>() as libc::socklen_t;

/// A non-blocking socket that listens on a vsock port of this guest.
///
/// # Errors
/// When the kernel has no vsock, or the port is taken.
pub(crate) fn listen_vsock(port: u32) -> io::Result<OwnedFd> {
    // SAFETY: the address is a fully initialised `sockaddr_vm` of the length given; the descriptor is new and ours.
    unsafe {
        let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        let fd = match libc::socket(libc::AF_VSOCK, kind, 0) {
            -1 => return Err(io::Error::last_os_error()),
            fd => OwnedFd::from_raw_fd(fd),
        };
        let mut address: libc::sockaddr_vm = std::mem::zeroed();
        address.svm_family = VSOCK_FAMILY;
        address.svm_cid = libc::VMADDR_CID_ANY;
        address.svm_port = port;
        let length = VSOCK_ADDRESS_LEN;
        let raw = std::os::fd::AsRawFd::as_raw_fd(&fd);
        if libc::bind(raw, (&raw const address).cast(), length) != 0 || libc::listen(raw, 16) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(fd)
    }
}

/// Takes the next connection of a [`listen_vsock`] socket, if there is one, with the number of the machine it comes from.
///
/// # Errors
/// As `accept4(2)`.
pub(crate) fn accept_vsock(listener: &OwnedFd) -> io::Result<(OwnedFd, u32)> {
    // SAFETY: the kernel fills at most `length` bytes of an initialised `sockaddr_vm`; the descriptor is new and ours.
    unsafe {
        let mut address: libc::sockaddr_vm = std::mem::zeroed();
        let mut length = VSOCK_ADDRESS_LEN;
        let raw = std::os::fd::AsRawFd::as_raw_fd(listener);
        let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        match libc::accept4(raw, (&raw mut address).cast(), &raw mut length, flags) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok((OwnedFd::from_raw_fd(fd), address.svm_cid)),
        }
    }
}

/// The descriptor on which the service finds PID 1.
pub(crate) const CONTROL_FD: i32 = 3;

/// The descriptor that whoever started this process left at `number` for it, if there is one. To be called once for each.
pub(crate) fn inherited(number: i32) -> Option<OwnedFd> {
    // SAFETY: the descriptor is open, as the first call tells, and nothing else in this process knows of it.
    unsafe {
        match libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) {
            -1 => None,
            _ => Some(OwnedFd::from_raw_fd(number)),
        }
    }
}

/// In a forked child before its exec: leaves `fd` open as `number` in the new program.
///
/// # Errors
/// As `dup2(2)`.
pub(crate) fn hand_down(fd: &OwnedFd, number: i32) -> io::Result<()> {
    let raw = std::os::fd::AsRawFd::as_raw_fd(fd);
    // SAFETY: only plain C values are passed. What was at `number` belongs to the parent's values, which a child that only
    // goes on to its exec never drops.
    let result = unsafe {
        match raw == number {
            true => libc::fcntl(raw, libc::F_SETFD, 0),
            false => libc::dup2(raw, number),
        }
    };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// In a forked child that lives on without an exec: closes every descriptor but the first three and those of `keep`.
pub(crate) fn close_all_but(keep: &[&OwnedFd]) {
    let mut kept: Vec<u32> =
        keep.iter().map(|fd| std::os::fd::AsRawFd::as_raw_fd(*fd).cast_unsigned()).filter(|fd| *fd > 2).collect();
    kept.sort_unstable();
    let mut first = 3;
    for last in kept.iter().map(|fd| fd - 1).chain([u32::MAX]) {
        if first <= last {
            // SAFETY: the values that own the closed descriptors are the parent's; such a child ends with [`exit_now`] and
            // never drops them.
            unsafe { libc::close_range(first, last, 0) };
        }
        first = last.saturating_add(2);
    }
}

/// The program that this process runs, whatever has become of its name.
pub(crate) const SELF: &CStr = c"/proc/self/exe";
