//! The VM's own facts, put into force.
//!
//! Owns: which steps there are. Each is done whatever became of the others: a machine with a wrong resolver is still one that
//! can be logged in to, and what went wrong is told. May be done again with other facts. Runs in a forked child.

mod files;
mod image_init;
mod netlink;
mod network;

use banger_model::wire::guest::{GuestConfig, GuestFacts};
use rustix::mount::{MountFlags, mount};
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};
use std::path::Path;

/// What the boot leaves to be told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Context {
    /// What went wrong so far without stopping it.
    pub(crate) warnings: Vec<String>,
}

/// A clock that is this much off, in nanoseconds, is set; less is what the way to here may have cost.
const CLOCK_TOLERANCE: u64 = 20_000_000;

/// Sets the clock to `unix_ns` nanoseconds since the epoch.
///
/// # Errors
/// As `clock_settime(2)`.
pub(crate) fn set_clock(unix_ns: u64) -> rustix::io::Result<()> {
    let now = clock_gettime(ClockId::Realtime);
    let now = u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0);
    if now.abs_diff(unix_ns) < CLOCK_TOLERANCE {
        return Ok(());
    }
    let seconds = i64::try_from(unix_ns / 1_000_000_000).unwrap_or(i64::MAX);
    let rest = i64::try_from(unix_ns % 1_000_000_000).unwrap_or(0);
    clock_settime(ClockId::Realtime, Timespec { tv_sec: seconds, tv_nsec: rest })
}

/// Puts `config` into force, and tells what the host may want to know.
pub(crate) fn apply(config: &GuestConfig, context: &Context) -> GuestFacts {
    let mut warnings = context.warnings.clone();
    let init = config.image_init.then(|| image_init::find(Path::new("/"))).flatten();
    if init.is_none() {
        // An init of the image's mounts this itself, and in its own way.
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        match mount("cgroup2", "/sys/fs/cgroup", "cgroup2", flags, c"nsdelegate") {
            Ok(()) | Err(rustix::io::Errno::BUSY) => {}
            Err(error) => warnings.push(format!("no control groups: {error}")),
        }
    }
    if let Err(error) = rustix::system::sethostname(config.hostname.as_bytes()) {
        warnings.push(format!("the host name {:?} could not be set: {error}", config.hostname));
    }
    warnings.extend(files::write(config, Path::new("/")));
    if init.as_deref().is_some_and(image_init::is_systemd)
        && let Err(error) = files::tell_systemd(Path::new("/"))
    {
        warnings.push(format!("systemd could not be told of the machine: {error}"));
    }
    warnings.extend(network::configure(config.network.as_ref()));
    let read = |file| std::fs::read_to_string(file).map(|text| text.trim_end().to_owned()).unwrap_or_default();
    GuestFacts {
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: read("/proc/sys/kernel/osrelease"),
        boot_id: read("/proc/sys/kernel/random/boot_id"),
        init: init.map(|init| init.display().to_string()),
        warnings,
    }
}
