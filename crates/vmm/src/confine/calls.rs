//! Which system calls a VMM is refused: a table.
//!
//! QEMU is too large for a list of what it may call, so this is one of what it must not: that which leads out of the process
//! past Landlock. What takes a capability is not here: there are none. Each VMM's own filter comes on top.

use banger_model::spec::VmmKind;
use libc::{
    ENOSYS, EPERM, SYS_add_key, SYS_bpf, SYS_chmod, SYS_chown, SYS_clone, SYS_clone3, SYS_connect, SYS_fanotify_init,
    SYS_fchmodat, SYS_fchmodat2, SYS_fchownat, SYS_fork, SYS_futimesat, SYS_inotify_add_watch, SYS_io_uring_setup,
    SYS_ioprio_set, SYS_kcmp, SYS_keyctl, SYS_kill, SYS_lchown, SYS_lremovexattr, SYS_lsetxattr, SYS_migrate_pages,
    SYS_move_pages, SYS_mq_open, SYS_mq_unlink, SYS_msgctl, SYS_msgget, SYS_msgrcv, SYS_msgsnd, SYS_perf_event_open,
    SYS_pidfd_getfd, SYS_pidfd_send_signal, SYS_prlimit64, SYS_process_madvise, SYS_process_mrelease,
    SYS_process_vm_readv, SYS_process_vm_writev, SYS_ptrace, SYS_removexattr, SYS_request_key, SYS_rt_sigqueueinfo,
    SYS_rt_tgsigqueueinfo, SYS_sched_setaffinity, SYS_sched_setattr, SYS_sched_setparam, SYS_sched_setscheduler,
    SYS_semctl, SYS_semget, SYS_semop, SYS_semtimedop, SYS_setns, SYS_setpriority, SYS_setxattr, SYS_shmat, SYS_shmctl,
    SYS_shmget, SYS_socket, SYS_socketpair, SYS_tgkill, SYS_tkill, SYS_truncate, SYS_unshare, SYS_userfaultfd,
    SYS_utime, SYS_utimensat, SYS_utimes, SYS_vfork, c_long,
};

/// New in Linux 6.13, and not in the C library's list yet.
const SYS_SETXATTRAT: c_long = 463;
const SYS_REMOVEXATTRAT: c_long = 466;

/// A call that fails with `error`, unless its arguments pass every test; without tests it always fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(super) call: c_long,
    pub(super) error: i32,
    pub(super) unless: &'static [Test],
}

/// What the lower half of an argument has to be. The kernel reads no more of any argument that is tested here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Test {
    /// Which argument, from 0.
    pub(super) argument: u32,
    /// The bits that matter.
    pub(super) mask: u32,
    pub(super) is: Is,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Is {
    Equal(u32),
    AtLeast(u32),
    /// The id of the process that is confined.
    OwnPid,
}

const fn whole(argument: u32, is: Is) -> Test {
    Test { argument, mask: u32::MAX, is }
}

const OWN_PID: &[Test] = &[whole(0, Is::OwnPid)];
const SELF: &[Test] = &[whole(0, Is::Equal(0))];
/// Of `setpriority` and `ioprio_set`: one process, and that the caller. Their words for a process differ.
const OWN_PRIORITY: &[Test] = &[whole(0, Is::Equal(0)), whole(1, Is::Equal(0))];
const OWN_IO_PRIORITY: &[Test] = &[whole(0, Is::Equal(1)), whole(1, Is::Equal(0))];
/// A thread, not a process: `CLONE_THREAD`.
const THREAD: &[Test] = &[Test { argument: 0, mask: 0x1_0000, is: Is::Equal(0x1_0000) }];
/// `AF_UNIX` and `SOCK_STREAM`, whatever the flags beside the type. A datagram socket could send to any path without connecting.
const UNIX_STREAM: &[Test] = &[whole(0, Is::Equal(1)), Test { argument: 1, mask: 0xf, is: Is::Equal(1) }];
/// `SIGRTMIN` as the kernel counts: what kicks a vCPU, and ends no program of another kind that handles it.
const KICK: &[Test] = &[whole(1, Is::AtLeast(32))];

/// Without exceptions.
const NEVER: &[(c_long, i32)] = &[
    // Other processes of the user: their memory, descriptors, pages and secrets.
    (SYS_ptrace, EPERM),
    (SYS_process_vm_readv, EPERM),
    (SYS_process_vm_writev, EPERM),
    (SYS_process_madvise, EPERM),
    (SYS_process_mrelease, EPERM),
    (SYS_pidfd_getfd, EPERM),
    (SYS_kcmp, EPERM),
    (SYS_move_pages, EPERM),
    (SYS_migrate_pages, EPERM),
    // Signals to them; see also the tests below. Kernels before 6.12 have no Landlock for it.
    (SYS_pidfd_send_signal, EPERM),
    (SYS_rt_sigqueueinfo, EPERM),
    (SYS_rt_tgsigqueueinfo, EPERM),
    // Whoever listens at a path: the daemon, other VMs' agents, the session bus. Landlock did not see it before ABI 9.
    (SYS_connect, EPERM),
    // Objects that all processes of a user share, without any path.
    (SYS_shmget, EPERM),
    (SYS_shmat, EPERM),
    (SYS_shmctl, EPERM),
    (SYS_semget, EPERM),
    (SYS_semop, EPERM),
    (SYS_semtimedop, EPERM),
    (SYS_semctl, EPERM),
    (SYS_msgget, EPERM),
    (SYS_msgsnd, EPERM),
    (SYS_msgrcv, EPERM),
    (SYS_msgctl, EPERM),
    (SYS_mq_open, EPERM),
    (SYS_mq_unlink, EPERM),
    (SYS_add_key, EPERM),
    (SYS_request_key, EPERM),
    (SYS_keyctl, EPERM),
    // What is changed or watched by a path, past Landlock. Truncating was in no domain before ABI 3.
    (SYS_truncate, EPERM),
    (SYS_chmod, EPERM),
    (SYS_fchmodat, EPERM),
    (SYS_fchmodat2, EPERM),
    (SYS_chown, EPERM),
    (SYS_lchown, EPERM),
    (SYS_fchownat, EPERM),
    (SYS_utime, EPERM),
    (SYS_utimes, EPERM),
    (SYS_futimesat, EPERM),
    (SYS_utimensat, EPERM),
    (SYS_setxattr, EPERM),
    (SYS_lsetxattr, EPERM),
    (SYS_removexattr, EPERM),
    (SYS_lremovexattr, EPERM),
    (SYS_SETXATTRAT, EPERM),
    (SYS_REMOVEXATTRAT, EPERM),
    (SYS_inotify_add_watch, EPERM),
    (SYS_fanotify_init, EPERM),
    // New processes; see `clone` below. The flags of `clone3` are in memory, where no filter can look: the C library then takes
    // `clone`.
    (SYS_fork, EPERM),
    (SYS_vfork, EPERM),
    (SYS_clone3, ENOSYS),
    // Namespaces, in which there would be capabilities.
    (SYS_unshare, EPERM),
    (SYS_setns, EPERM),
    // Large parts of the kernel that no VMM needs here, open to ordinary users on some hosts.
    (SYS_bpf, EPERM),
    (SYS_perf_event_open, EPERM),
    (SYS_userfaultfd, EPERM),
    // It does what is refused here by another way. QEMU and the C library know how to do without.
    (SYS_io_uring_setup, ENOSYS),
];

/// But for the process itself.
const SOMETIMES: &[(c_long, &[Test])] = &[
    (SYS_kill, OWN_PID),
    (SYS_tgkill, OWN_PID),
    (SYS_prlimit64, SELF),
    (SYS_sched_setaffinity, SELF),
    (SYS_sched_setattr, SELF),
    (SYS_sched_setparam, SELF),
    (SYS_sched_setscheduler, SELF),
    (SYS_setpriority, OWN_PRIORITY),
    (SYS_ioprio_set, OWN_IO_PRIORITY),
    (SYS_clone, THREAD),
    (SYS_socket, UNIX_STREAM),
    (SYS_socketpair, UNIX_STREAM),
];

/// The table for such a program.
pub(super) fn of(kind: VmmKind) -> Vec<Rule> {
    // Firecracker's C library kicks its vCPUs' threads with the call that names no process; its own filter admits one signal.
    let tkill: &[Test] = if kind == VmmKind::Firecracker { KICK } else { &[] };
    let never = NEVER.iter().map(|(call, error)| Rule { call: *call, error: *error, unless: &[] });
    let sometimes = SOMETIMES.iter().map(|(call, unless)| Rule { call: *call, error: EPERM, unless });
    never.chain(sometimes).chain([Rule { call: SYS_tkill, error: EPERM, unless: tkill }]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_is_judged_twice() {
        for kind in [VmmKind::Qemu, VmmKind::Firecracker] {
            let mut calls: Vec<_> = of(kind).into_iter().map(|rule| rule.call).collect();
            calls.sort_unstable();
            let count = calls.len();
            calls.dedup();
            assert_eq!(calls.len(), count);
        }
    }
}
