//! What a VMM does at its honest work.

use crate::{Attempt, Scene, outcome};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};

pub(crate) const ALL: &[Attempt] = &[
    ("need kernel", |scene| std::fs::read(scene.root.join("kernel/vmlinux")).map(drop)),
    ("need image", |scene| std::fs::read(scene.root.join("images/image")).map(drop)),
    ("need layer", layer),
    ("need log", |scene| OpenOptions::new().append(true).open(scene.root.join("state/vmm.log")).map(drop)),
    ("need console", console),
    ("need sockets", sockets),
    ("need /dev/null", |_| OpenOptions::new().read(true).write(true).open("/dev/null").map(drop)),
    ("need entropy", |_| File::open("/dev/urandom")?.read_exact(&mut [0; 8])),
    ("need threads", |_| std::thread::Builder::new().spawn(|| ())?.join().map_err(|_| io::ErrorKind::Other.into())),
    ("need own signals", own_signals),
    ("need memory files", memory_file),
    ("kvm", kvm),
];

/// Written, grown and given back in parts.
fn layer(scene: &Scene) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(scene.root.join("state/layer"))?;
    file.write_all(&[1; 4096])?;
    file.set_len(1 << 20)?;
    let punch = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: numbers only, on a file that is open.
    outcome(unsafe { libc::fallocate(file.as_raw_fd(), punch, 0, 4096) }.into())
}

/// As QEMU opens it: shortened, and made if it were not there.
fn console(scene: &Scene) -> io::Result<()> {
    let path = scene.root.join("state/console.log");
    let text = std::fs::read(&path)?;
    File::create(&path)?.write_all(&text)
}

fn sockets(scene: &Scene) -> io::Result<()> {
    let path = scene.root.join("run/agent.sock");
    UnixListener::bind(&path)?;
    std::fs::remove_file(&path)?;
    UnixStream::pair().map(drop)
}

fn own_signals(_: &Scene) -> io::Result<()> {
    // SAFETY: signal 0 is none; the call only checks.
    outcome(unsafe { libc::kill(libc::getpid(), 0) }.into())?;
    // SAFETY: as above, to the thread that calls.
    outcome(unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::gettid(), 0) })
}

fn memory_file(_: &Scene) -> io::Result<()> {
    // SAFETY: the name is a string that ends with a zero.
    outcome(unsafe { libc::memfd_create(c"guest".as_ptr(), libc::MFD_CLOEXEC) }.into())
}

/// Opened and commanded: `KVM_GET_API_VERSION`.
fn kvm(_: &Scene) -> io::Result<()> {
    let device = OpenOptions::new().read(true).write(true).open("/dev/kvm")?;
    // SAFETY: the request takes no argument.
    outcome(unsafe { libc::ioctl(device.as_raw_fd(), 0xae00, 0) }.into())
}
