//! The agent as PID 1.
//!
//! Owns: the boot, starting the service, becoming the image's own init when told to, and until then, or for ever without
//! one: reaping what nobody else does, and ending the machine when asked by signal. Must not serve the host: that is the
//! service's, which lives on when PID 1 has become another program.

use crate::service::{Order, Received, control_pair};
use crate::sys::{self, Signals};
use crate::{boot, console, ending};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, WaitOptions, wait};
use std::ffi::{CStr, CString};
use std::io;

/// Open files that any process may ask for, and what the service has: each command takes it four.
const OPEN_FILES: u64 = 65_536;
/// What the kernel gives its first process.
const ENVIRONMENT: [&CStr; 3] =
    [c"HOME=/", c"TERM=linux", c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"];

/// Runs the machine.
pub(crate) fn run() -> ! {
    let mut warnings = Vec::new();
    let booted = boot::boot(&mut warnings);
    for warning in &warnings {
        console::say(warning);
    }
    if let Err(error) = booted {
        ending::abort(error);
    }
    match supervise(&warnings) {
        Ok(()) => ending::end(),
        Err(error) => ending::abort(error),
    }
}

/// Why PID 1 gives up.
#[derive(Debug, thiserror::Error)]
enum InitError {
    #[error("the agent's service cannot be started: {0}")]
    Start(#[source] io::Error),
    #[error("the agent's service has ended")]
    ServiceGone,
    #[error("waiting failed: {0}")]
    Wait(#[source] Errno),
}

/// The signals that mean the machine's end: of busybox's `halt`, `poweroff` and `reboot`, of Ctrl-Alt-Del, of a power
/// failure, and of systemd's way with a PID 1.
fn ending_signals() -> Vec<i32> {
    let fixed = [libc::SIGTERM, libc::SIGINT, libc::SIGUSR1, libc::SIGUSR2, libc::SIGPWR];
    let systemd = [3, 4, 5, 13, 14, 15].map(sys::realtime_signal);
    fixed.into_iter().chain(systemd).collect()
}

/// Starts the service and does PID 1's work. Comes back when the machine is to end.
fn supervise(warnings: &[String]) -> Result<(), InitError> {
    let limit = Rlimit { current: Some(OPEN_FILES), maximum: Some(OPEN_FILES) };
    let _ = rustix::process::setrlimit(Resource::Nofile, limit);
    // Has Ctrl-Alt-Del come as a signal.
    let _ = rustix::system::reboot(rustix::system::RebootCommand::CadOff);
    let mut watched = ending_signals();
    watched.push(libc::SIGCHLD);
    let signals = Signals::take(&watched).map_err(InitError::Start)?;
    let (control, service_end) = control_pair().map_err(|error| InitError::Start(error.into()))?;
    let service = start_service(service_end, warnings).map_err(InitError::Start)?;
    loop {
        let mut polled = [PollFd::new(signals.fd(), PollFlags::IN), PollFd::new(&control, PollFlags::IN)];
        match poll(&mut polled, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(InitError::Wait(error)),
        }
        while let Some(signal) = signals.next() {
            if signal != libc::SIGCHLD {
                return Ok(());
            }
            reap(service)?;
        }
        match Order::receive(&control) {
            Received::Order(Order::End) => return Ok(()),
            Received::Order(Order::Become { init }) => {
                let error = become_init(&init);
                console::say(format_args!("cannot start {init}, the image's init, so the agent stays PID 1: {error}"));
                // Becoming it had unblocked them.
                let _ = Signals::take(&watched);
            }
            Received::Nothing => {}
            Received::Over => return Err(InitError::ServiceGone),
        }
    }
}

fn reap(service: Pid) -> Result<(), InitError> {
    while let Ok(Some((pid, _))) = wait(WaitOptions::NOHANG) {
        if pid == service {
            return Err(InitError::ServiceGone);
        }
    }
    Ok(())
}

/// Starts the agent's program anew under the service's name.
fn start_service(control: OwnedFd, warnings: &[String]) -> io::Result<Pid> {
    let warnings: Vec<CString> = warnings.iter().filter_map(|warning| CString::new(warning.as_str()).ok()).collect();
    match sys::fork()? {
        sys::Forked::Parent(pid) => Ok(pid),
        sys::Forked::Child => {
            let argv: Vec<&CStr> =
                [crate::SERVICE_NAME].into_iter().chain(warnings.iter().map(CString::as_c_str)).collect();
            sys::reset_signals();
            let error = match sys::hand_down(&control, sys::CONTROL_FD) {
                Ok(()) => sys::execve(sys::SELF, &argv, &[]),
                Err(error) => error,
            };
            console::say(format_args!("the agent's own program: {error}"));
            sys::exit_now(1)
        }
    }
}

/// Becomes `init`; comes back only with the reason why not.
fn become_init(init: &str) -> io::Error {
    let Ok(file) = CString::new(init) else { return Errno::INVAL.into() };
    sys::reset_signals();
    sys::close_descriptors_on_exec();
    sys::execve(&file, &[&file], &ENVIRONMENT)
}
