//! The program inside the guest: first process, then service.
//!
//! It is `/init` of the initramfs. As PID 1 ([`init`]) it brings the machine up to its root ([`boot`]) and starts itself a
//! second time as the service ([`service`]), which meets the host and carries out what it asks: commands ([`command`]),
//! copies ([`copy`]), the VM's own facts ([`configure`]). PID 1 then becomes the image's own init, or stays and reaps; the
//! service lives on beside either until the machine ends ([`ending`]). One thread each, no async, no files kept open.
//!
//! The library is there for the tests; its one door is [`run`].

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod boot;
mod command;
mod configure;
mod console;
mod copy;
mod ending;
mod init;
mod processes;
mod service;
mod sys;
mod uevent;
mod virtio;

use configure::Context;
use service::Service;
use std::ffi::{CStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::process::ExitCode;

/// The service's `argv[0]`. systemd spares processes whose name begins so until its very end.
const SERVICE_NAME: &CStr = c"@banger-agent";

/// Runs as whatever the arguments say: the service, PID 1, or, as `banger-agent session`, a service for the one session on
/// its standard input.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter();
    let name = args.next().unwrap_or_default();
    let rest: Vec<OsString> = args.collect();
    if name.as_bytes() == SERVICE_NAME.to_bytes() {
        let warnings = rest.iter().map(|warning| warning.to_string_lossy().into_owned()).collect();
        return serve_machine(Context { warnings });
    }
    if rest.first().is_some_and(|word| word == "session") {
        return serve_stdin();
    }
    if rustix::process::getpid().is_init() {
        init::run();
    }
    tell("usage: banger-agent session\nServes one session of the agent's protocol on standard input, a socket.\n");
    ExitCode::from(2)
}

fn serve_machine(context: Context) -> ExitCode {
    // Not by signal: the host is served until the kernel ends, and memory is not what it shall die of.
    sys::ignore(&[libc::SIGPIPE, libc::SIGTERM, libc::SIGHUP, libc::SIGINT]);
    let _ = std::fs::write("/proc/self/oom_score_adj", "-1000");
    // A command that starts or ends has several things to tell: told at once they cost one message, one by one four.
    sys::schedule(sys::Waking::Waits);
    // Started by way of /proc, it would be listed as "exe".
    let _ = rustix::thread::set_name(c"banger-agent");
    let Some(pid1) = sys::inherited(sys::CONTROL_FD) else {
        tell("the service is started by the agent's PID 1 only\n");
        return ExitCode::from(2);
    };
    match Service::in_guest(pid1, context) {
        Ok(service) => service.run(),
        Err(error) => console::say(format_args!("the service cannot start: {error}")),
    }
    ExitCode::FAILURE
}

fn serve_stdin() -> ExitCode {
    sys::ignore(&[libc::SIGPIPE]);
    let stream = rustix::io::dup(rustix::stdio::stdin()).and_then(|stream| {
        rustix::io::fcntl_setfd(&stream, rustix::io::FdFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&stream, true)?;
        Ok(stream)
    });
    match stream.and_then(Service::on_connection) {
        Ok(service) => {
            service.run();
            ExitCode::SUCCESS
        }
        Err(error) => {
            tell(&format!("cannot serve a session on standard input: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

fn tell(text: &str) {
    let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
}
