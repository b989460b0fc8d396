//! Finding VMM processes of ours in `/proc`, whether or not a record of them is left.
//!
//! A process is one of ours when our user runs it, its arguments name a VM as we name it, and its control socket lies
//! below our runtime folder. Records come first; this is for records that were lost and for VMMs that no VM owns.

use crate::config::{CONTROL_SOCKET, Engine};
use crate::qemu::NAME_PREFIX;
use crate::record::{CompanionRecord, Identity, Stat, VmmRecord, boot_id};
use banger_model::VmId;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, openat, statat};
use rustix::process::{Pid, geteuid};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Every VMM process of our user whose sockets lie below `runtime_root`. Processes that end meanwhile are left out.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn scan(runtime_root: &Path) -> io::Result<Vec<VmmRecord>> {
    let found =
        every_process(|arguments| recognise(arguments).filter(|vmm| vmm.runtime_dir.starts_with(runtime_root)))?;
    let record = |(identity, Recognised { vm, engine, binary, runtime_dir })| VmmRecord {
        identity,
        vm,
        engine,
        binary,
        version: None,
        runtime_dir,
    };
    Ok(found.into_iter().map(record).collect())
}

/// Every companion process of our user that runs the program `name` and whose socket lies below `runtime_root`.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn companions(name: &str, runtime_root: &Path) -> io::Result<Vec<CompanionRecord>> {
    let found = every_process(|arguments| recognise_companion(name, runtime_root, arguments))?;
    Ok(found.into_iter().map(|(identity, (vm, binary))| CompanionRecord { identity, vm, binary }).collect())
}

/// The VMM processes of one VM: one, unless something went very wrong.
///
/// # Errors
/// As [`scan`].
pub fn find(vm: VmId, runtime_root: &Path) -> io::Result<Vec<VmmRecord>> {
    Ok(scan(runtime_root)?.into_iter().filter(|record| record.vm == vm).collect())
}

/// What `recognised` makes of the processes of our user, each with its arguments as `/proc/PID/cmdline` has them. Of most processes
/// nothing else is read: a host has hundreds, and whoever ends a VM looks at all of them.
fn every_process<T>(recognised: impl Fn(&[u8]) -> Option<T>) -> io::Result<Vec<(Identity, T)>> {
    let boot_id = boot_id()?;
    let us = geteuid().as_raw();
    let proc = openat(CWD, "/proc", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let (mut found, mut before) = (Vec::new(), Vec::new());
    for entry in Dir::read_from(&proc)? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().ok().and_then(|name| name.parse().ok()).and_then(Pid::from_raw)
        else {
            continue;
        };
        if read_arguments(&proc, pid, &mut before).is_err() {
            continue;
        }
        let Some(known) = recognised(&before) else { continue };
        let Some(stat) = Stat::of(pid).ok().filter(|stat| !stat.ended) else { continue };
        let number = pid.as_raw_nonzero();
        // Of the folder, since a process that allows no look into it leaves the files in there to root.
        let is_ours = statat(&proc, number.to_string(), AtFlags::empty()).is_ok_and(|folder| folder.st_uid == us);
        // The same process still, or the number is another's by now.
        let mut after = Vec::with_capacity(before.len());
        if is_ours && read_arguments(&proc, pid, &mut after).is_ok() && after == before {
            let identity = Identity { boot_id: boot_id.clone(), pid: number.get(), start_time: stat.start_time };
            found.push((identity, known));
        }
    }
    Ok(found)
}

/// Reads the arguments of a process into `arguments`, in place of what was there.
fn read_arguments(proc: &OwnedFd, pid: Pid, arguments: &mut Vec<u8>) -> io::Result<()> {
    let path = format!("{}/cmdline", pid.as_raw_nonzero());
    let file = openat(proc, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    arguments.clear();
    loop {
        let mut part = [0; 4096];
        let length = rustix::io::read(&file, &mut part)?;
        arguments.extend_from_slice(&part[..length]);
        // Less is all that there is.
        if length < part.len() {
            return Ok(());
        }
    }
}

/// What a command line of ours tells.
#[derive(Debug, PartialEq, Eq)]
struct Recognised {
    vm: VmId,
    engine: Engine,
    binary: PathBuf,
    runtime_dir: PathBuf,
}

/// Arguments as `/proc/PID/cmdline` has them: each ended by a zero byte.
struct Arguments<'a>(Vec<&'a [u8]>);

impl<'a> Arguments<'a> {
    fn parse(cmdline: &'a [u8]) -> Self {
        Self(cmdline.split(|b| *b == 0).collect())
    }

    fn program(&self) -> Option<&'a Path> {
        self.0.first().map(|bytes| Path::new(OsStr::from_bytes(bytes)))
    }

    /// What follows each such flag.
    fn values(&self, flag: &'static str) -> impl Iterator<Item = &'a [u8]> {
        self.0.windows(2).filter(move |pair| pair[0] == flag.as_bytes()).map(|pair| pair[1])
    }
}

fn id(bytes: &[u8]) -> Option<VmId> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// The VM and the program of a companion, as [`crate::companion`] says how it is called.
fn recognise_companion(name: &str, runtime_root: &Path, cmdline: &[u8]) -> Option<(VmId, PathBuf)> {
    let arguments = Arguments::parse(cmdline);
    let program = arguments.program().filter(|program| program.file_name() == Some(OsStr::new(name)))?;
    let socket = Path::new(OsStr::from_bytes(arguments.values("--socket").next()?));
    let vm = id(arguments.values("--vm").next()?)?;
    socket.starts_with(runtime_root).then(|| (vm, program.to_owned()))
}

fn recognise(cmdline: &[u8]) -> Option<Recognised> {
    let arguments = Arguments::parse(cmdline);
    let values = |flag| arguments.values(flag);
    let (vm, engine, socket) = match (values("-name").next(), values("--id").next()) {
        (Some(name), _) => {
            let vm = id(name.strip_prefix(NAME_PREFIX.as_bytes())?)?;
            let kvm = values("-accel").any(|accel| accel.starts_with(b"kvm"));
            let socket = values("-chardev").find_map(|v| v.strip_prefix(b"socket,id=control,path="))?;
            let socket = socket.strip_suffix(b",server=on,wait=off")?;
            (vm, if kvm { Engine::QemuKvm } else { Engine::QemuTcg }, undouble_commas(socket))
        }
        (None, Some(vm)) => (id(vm)?, Engine::Firecracker, values("--api-sock").next()?.to_vec()),
        (None, None) => return None,
    };
    let socket = Path::new(OsStr::from_bytes(&socket));
    (socket.file_name()? == CONTROL_SOCKET).then_some(())?;
    Some(Recognised { vm, engine, binary: arguments.program()?.into(), runtime_dir: socket.parent()?.into() })
}

/// QEMU's command line has every comma of a path twice.
fn undouble_commas(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        plain.push(*byte);
        if *byte == b',' {
            rest.next();
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cmdline(arguments: &str) -> Vec<u8> {
        let mut bytes = arguments.replace(' ', "\0").into_bytes();
        bytes.push(0);
        bytes
    }

    #[test]
    fn command_lines_of_ours_and_of_others() {
        let vm = VmId::from_entropy([5; 16]);
        let control = "-chardev socket,id=control,path=/run/b,,x/vmm.sock,server=on,wait=off";
        let qemu = format!("/usr/bin/qemu -name banger-{vm} -accel tcg,thread=multi {control}");
        let found = recognise(&cmdline(&qemu)).unwrap();
        assert_eq!((found.vm, found.engine), (vm, Engine::QemuTcg));
        assert_eq!(found.runtime_dir, Path::new("/run/b,x"));
        let firecracker = format!("/opt/firecracker --api-sock /run/b/vmm.sock --id {vm}");
        let found = recognise(&cmdline(&firecracker)).unwrap();
        assert_eq!((found.engine, found.binary), (Engine::Firecracker, "/opt/firecracker".into()));
        for other in [
            "".to_owned(),
            format!("vi -name banger-{vm}"),
            format!("/usr/bin/qemu -name other {control}"),
            "/usr/bin/qemu -name".to_owned(),
            format!("firecracker --id {vm} --api-sock /run/b/api.sock"),
        ] {
            assert_eq!(recognise(&cmdline(&other)), None, "{other}");
        }
    }

    #[test]
    fn companions_by_their_program_and_their_socket() {
        let vm = VmId::from_entropy([5; 16]);
        let root = Path::new("/run/b");
        let line = |program: &str, socket: &str| cmdline(&format!("{program} --vm {vm} --op x --socket {socket}"));
        let found = recognise_companion("filter", root, &line("/bin/filter", "/run/b/vm/n.sock"));
        assert_eq!(found, Some((vm, "/bin/filter".into())));
        assert_eq!(recognise_companion("filter", root, &line("/bin/other", "/run/b/vm/n.sock")), None);
        assert_eq!(recognise_companion("filter", root, &line("/bin/filter", "/run/other/n.sock")), None);
        assert_eq!(recognise_companion("filter", root, b""), None);
    }
}
