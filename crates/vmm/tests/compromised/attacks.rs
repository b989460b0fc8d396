//! What a guest that has taken its VMM over would try next.

use crate::{Attempt, Scene, outcome};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::Command;

pub(crate) const ALL: &[Attempt] = &[
    // First: the others open some.
    ("hold an inherited descriptor", |_| {
        // SAFETY: the call only asks for a flag.
        let open = |fd| unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0;
        if (3..1024).any(open) { Ok(()) } else { Err(io::Error::last_os_error()) }
    }),
    ("read the home", |scene| fs::read(scene.root.join("home/secret")).map(drop)),
    ("list the home", |scene| fs::read_dir(scene.root.join("home")).map(drop)),
    ("read another VM's disk", |scene| fs::read(scene.root.join("other/layer")).map(drop)),
    ("write another VM's disk", |scene| OpenOptions::new().write(true).open(scene.root.join("other/layer")).map(drop)),
    ("read the database", |scene| fs::read(scene.root.join("daemon/db")).map(drop)),
    ("write the shared image", |scene| OpenOptions::new().write(true).open(scene.root.join("images/image")).map(drop)),
    ("shorten the shared image", truncate_image),
    ("write its own record", |scene| fs::write(scene.root.join("state/vmm.json"), "{}")),
    ("make a file beside its disk", |scene| fs::write(scene.root.join("state/new"), "")),
    ("make a file beside its sockets", |scene| fs::write(scene.root.join("run/new"), "")),
    ("make a file in /tmp", |scene| fs::write(std::env::temp_dir().join(&scene.abstract_name), "")),
    ("make a folder", |scene| fs::create_dir(scene.root.join("run/folder"))),
    ("make a link into the home", |scene| symlink("../home", scene.root.join("run/link"))),
    ("link another VM's disk", |scene| fs::hard_link(scene.root.join("other/layer"), scene.root.join("run/hard"))),
    ("move a file out of the home", |scene| fs::rename(scene.root.join("home/movable"), scene.root.join("run/moved"))),
    ("remove a file of the home", |scene| fs::remove_file(scene.root.join("home/removable"))),
    ("open the home to all", |scene| fs::set_permissions(scene.root.join("home"), Permissions::from_mode(0o777))),
    ("change a file's times", change_times),
    ("change a file's attributes", change_attributes),
    ("watch the home", watch_home),
    ("open a terminal", |_| OpenOptions::new().read(true).write(true).open("/dev/ptmx").map(drop)),
    ("open the host's memory", |_| File::open("/dev/mem").map(drop)),
    ("read the victim's memory", |scene| File::open(format!("/proc/{}/mem", scene.victim)).map(drop)),
    ("read the victim's environment", |scene| fs::read(format!("/proc/{}/environ", scene.victim)).map(drop)),
    ("copy the victim's memory", copy_memory),
    ("trace the victim", trace),
    ("take the victim's descriptor", take_descriptor),
    ("signal the victim", |scene| victim(scene, libc::SYS_kill, &[i64::from(libc::SIGWINCH)])),
    ("signal the victim's thread", |scene| victim(scene, libc::SYS_tkill, &[i64::from(libc::SIGWINCH)])),
    ("signal the victim's thread in its process", |scene| {
        victim(scene, libc::SYS_tgkill, &[i64::from(scene.victim), i64::from(libc::SIGWINCH)])
    }),
    ("signal the victim by descriptor", signal_by_descriptor),
    ("signal everybody", |_| {
        // SAFETY: signal 0 is none; the call only checks.
        outcome(unsafe { libc::kill(-1, 0) }.into())
    }),
    ("limit the victim", limit),
    ("slow the victim", |scene| {
        // As slow as can be: whoever is slow already may only become slower. SAFETY: numbers only.
        outcome(unsafe { libc::setpriority(libc::PRIO_PROCESS, scene.victim.unsigned_abs(), 19) }.into())
    }),
    ("pin the victim", pin),
    ("connect to the daemon", |scene| UnixStream::connect(scene.root.join("daemon/sock")).map(drop)),
    ("connect to another VM's agent", |scene| UnixStream::connect(scene.root.join("other/agent.sock")).map(drop)),
    ("send to a service by its path", |scene| {
        UnixDatagram::unbound()?.send_to(b"x", scene.root.join("daemon/log")).map(drop)
    }),
    ("send by a pair", |scene| UnixDatagram::pair()?.0.send_to(b"x", scene.root.join("daemon/log")).map(drop)),
    ("connect to an abstract socket", |scene| {
        UnixStream::connect_addr(&SocketAddr::from_abstract_name(&scene.abstract_name)?).map(drop)
    }),
    ("connect to loopback", |scene| TcpStream::connect(("127.0.0.1", scene.port)).map(drop)),
    ("listen on TCP", |_| TcpListener::bind("127.0.0.1:0").map(drop)),
    ("send on UDP", |scene| UdpSocket::bind("127.0.0.1:0")?.send_to(b"x", ("127.0.0.1", scene.port)).map(drop)),
    ("share memory", share_memory),
    ("make a message queue", message_queue),
    ("read the user's keys", |_| {
        // SAFETY: numbers only: the id of the user's own keyring, KEYCTL_GET_KEYRING_ID of KEY_SPEC_USER_KEYRING.
        outcome(unsafe { libc::syscall(libc::SYS_keyctl, 0, -4, 0) })
    }),
    ("use an io_uring", io_uring),
    ("start a process", |_| Command::new("/bin/true").status().map(drop)),
    ("fork", fork),
    ("hold a capability", |_| {
        let held = rustix::thread::capabilities(None)?;
        if held.permitted.is_empty() { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
    }),
    ("dump core", |_| match rustix::process::getrlimit(rustix::process::Resource::Core).maximum {
        Some(0) => Err(io::ErrorKind::PermissionDenied.into()),
        _ => Ok(()),
    }),
    ("outlive others in a shortage", |_| {
        // Lower than it was given; only root may go below that.
        fs::write("/proc/self/oom_score_adj", "0")
    }),
    // Last of the attacks: where it works, what follows runs in it.
    ("make a user namespace", |_| {
        // SAFETY: the process has one thread.
        outcome(unsafe { libc::unshare(libc::CLONE_NEWUSER) }.into())
    }),
];

/// Comes back only when it is refused.
pub(crate) fn become_another_program() {
    let error = Command::new("/bin/echo").arg("become another program: done").exec();
    println!("become another program: refused ({error})");
}

/// A call about the victim, whose id is its first argument.
fn victim(scene: &Scene, call: libc::c_long, more: &[i64]) -> io::Result<()> {
    let argument = |index: usize| more.get(index).copied().unwrap_or_default();
    // SAFETY: used for calls whose arguments are all numbers.
    outcome(unsafe { libc::syscall(call, i64::from(scene.victim), argument(0), argument(1)) })
}

fn truncate_image(scene: &Scene) -> io::Result<()> {
    let path = c_path(scene, "images/image")?;
    // SAFETY: the path ends with a zero.
    outcome(unsafe { libc::truncate(path.as_ptr(), 4096) }.into())
}

fn change_times(scene: &Scene) -> io::Result<()> {
    let path = c_path(scene, "home/secret")?;
    // SAFETY: the path ends with a zero; no times are the present.
    outcome(unsafe { libc::utimensat(libc::AT_FDCWD, path.as_ptr(), std::ptr::null(), 0) }.into())
}

fn change_attributes(scene: &Scene) -> io::Result<()> {
    let path = c_path(scene, "home/secret")?;
    // SAFETY: both strings end with a zero, and no byte of a value is read.
    outcome(unsafe { libc::setxattr(path.as_ptr(), c"user.x".as_ptr(), std::ptr::null(), 0, 0) }.into())
}

fn watch_home(scene: &Scene) -> io::Result<()> {
    let path = c_path(scene, "home")?;
    // SAFETY: the call takes a flag.
    let watcher = unsafe { libc::inotify_init1(libc::IN_CLOEXEC) };
    // SAFETY: the path ends with a zero.
    outcome(unsafe { libc::inotify_add_watch(watcher, path.as_ptr(), libc::IN_CREATE) }.into())
}

fn c_path(scene: &Scene, name: &str) -> io::Result<std::ffi::CString> {
    use std::os::unix::ffi::OsStrExt;
    Ok(std::ffi::CString::new(scene.root.join(name).as_os_str().as_bytes())?)
}

fn copy_memory(scene: &Scene) -> io::Result<()> {
    let none = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
    // SAFETY: nothing is copied; the right to is checked all the same.
    outcome(
        i64::try_from(unsafe { libc::process_vm_readv(scene.victim, &raw const none, 1, &raw const none, 1, 0) })
            .unwrap_or(-1),
    )
}

/// `PTRACE_SEIZE`, which does not stop it, and off again.
fn trace(scene: &Scene) -> io::Result<()> {
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: no memory is involved.
    outcome(unsafe { libc::ptrace(libc::PTRACE_SEIZE, scene.victim, nothing, nothing) })?;
    // SAFETY: as above.
    unsafe { libc::ptrace(libc::PTRACE_INTERRUPT, scene.victim, nothing, nothing) };
    // SAFETY: as above; nobody wants the status.
    unsafe { libc::waitpid(scene.victim, std::ptr::null_mut(), libc::__WALL) };
    // SAFETY: as above.
    unsafe { libc::ptrace(libc::PTRACE_DETACH, scene.victim, nothing, nothing) };
    Ok(())
}

fn pidfd(scene: &Scene) -> i64 {
    // SAFETY: numbers only.
    unsafe { libc::syscall(libc::SYS_pidfd_open, scene.victim, 0) }
}

fn take_descriptor(scene: &Scene) -> io::Result<()> {
    // SAFETY: numbers only.
    outcome(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd(scene), 0, 0) })
}

fn signal_by_descriptor(scene: &Scene) -> io::Result<()> {
    // SAFETY: numbers only, and no information beside the signal.
    outcome(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd(scene), libc::SIGWINCH, 0, 0) })
}

fn limit(scene: &Scene) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is read, and none is written back.
    outcome(unsafe { libc::prlimit(scene.victim, libc::RLIMIT_CORE, &raw const limit, std::ptr::null_mut()) }.into())
}

fn pin(scene: &Scene) -> io::Result<()> {
    let mask = 1u64;
    // SAFETY: the mask is as long as it says.
    outcome(unsafe { libc::syscall(libc::SYS_sched_setaffinity, scene.victim, size_of_val(&mask), &raw const mask) })
}

/// A segment that is gone at once.
fn share_memory(_: &Scene) -> io::Result<()> {
    // SAFETY: numbers only.
    let segment = unsafe { libc::shmget(libc::IPC_PRIVATE, 4096, 0o600) };
    outcome(segment.into())?;
    // SAFETY: nothing is written for this command.
    unsafe { libc::shmctl(segment, libc::IPC_RMID, std::ptr::null_mut()) };
    Ok(())
}

fn message_queue(_: &Scene) -> io::Result<()> {
    // SAFETY: numbers only.
    let queue = unsafe { libc::msgget(libc::IPC_PRIVATE, 0o600) };
    outcome(queue.into())?;
    // SAFETY: nothing is written for this command.
    unsafe { libc::msgctl(queue, libc::IPC_RMID, std::ptr::null_mut()) };
    Ok(())
}

fn io_uring(_: &Scene) -> io::Result<()> {
    // `struct io_uring_params`, all zero.
    let mut parameters = [0u8; 120];
    // SAFETY: the kernel fills in the parameters, of which there are no more.
    outcome(unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, parameters.as_mut_ptr()) })
}

fn fork(_: &Scene) -> io::Result<()> {
    let (mut reader, writer) = io::pipe()?;
    // SAFETY: the child ends at once.
    match unsafe { libc::syscall(libc::SYS_fork) } {
        0 => {
            // SAFETY: ends the process and runs nothing of it.
            unsafe { libc::_exit(0) }
        }
        child if child > 0 => {
            drop(writer);
            // Returns when the child has ended.
            reader.read_to_end(&mut Vec::new())?;
            debug_assert!(reader.as_raw_fd() > 2);
            Ok(())
        }
        _ => Err(io::Error::last_os_error()),
    }
}
