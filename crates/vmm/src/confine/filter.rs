//! The table of refused calls becomes a seccomp program: pure.
//!
//! The format is classic BPF over `struct seccomp_data` (`linux/seccomp.h`): the call's number at 0, the architecture at 4, the
//! arguments from 16 on, eight bytes each, lower half first.

use super::calls::{Is, Rule, Test};
use libc::sock_filter;

const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// `AUDIT_ARCH_X86_64` of `linux/audit.h`.
const X86_64: u32 = 0xc000_003e;
/// From this number on a call is of the x32 kind, which has numbers of its own.
const X32: u32 = 0x4000_0000;

/// Opcodes of `linux/bpf_common.h`: load a word of the data, mask it, jump on comparison with a constant, return one.
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

/// A seccomp program that lacks one number.
#[derive(Debug)]
pub(super) struct Filter {
    program: Vec<sock_filter>,
    /// Where the id of the process belongs, which nobody knows before it is there.
    own_pid: Vec<usize>,
}

/// The program for these rules. Other architectures' calls end the process: nothing of ours makes any.
pub(super) fn compile(rules: &[Rule]) -> Filter {
    let mut filter = Filter { program: Vec::new(), own_pid: Vec::new() };
    filter.add(LOAD, ARCHITECTURE);
    filter.branch(JUMP_EQUAL, X86_64, 1, 0);
    filter.add(RETURN, libc::SECCOMP_RET_KILL_PROCESS);
    filter.add(LOAD, NUMBER);
    filter.branch(JUMP_AT_LEAST, X32, 0, 1);
    filter.add(RETURN, refusal(libc::ENOSYS));
    rules.iter().for_each(|rule| filter.judge(rule));
    filter.add(RETURN, libc::SECCOMP_RET_ALLOW);
    filter
}

/// Instructions that one test takes.
const TEST_LENGTH: usize = 3;

impl Filter {
    /// The program for the process with that id. Allocates nothing.
    pub(super) fn for_process(&mut self, pid: u32) -> &mut [sock_filter] {
        for place in &self.own_pid {
            if let Some(instruction) = self.program.get_mut(*place) {
                instruction.k = pid;
            }
        }
        &mut self.program
    }

    /// With the call's number loaded: returns if it is this rule's, else goes on with it loaded still.
    fn judge(&mut self, rule: &Rule) {
        let tests = rule.unless.len() * TEST_LENGTH;
        let returns = if rule.unless.is_empty() { 1 } else { 2 };
        // No call's number is negative, nor larger than 32 bits.
        self.branch(JUMP_EQUAL, u32::try_from(rule.call).unwrap_or(u32::MAX), 0, tests + returns);
        for (index, test) in rule.unless.iter().enumerate() {
            // To the refusal, over the tests that follow and the permission.
            let failed = (rule.unless.len() - index - 1) * TEST_LENGTH + 1;
            self.test(test, failed);
        }
        if !rule.unless.is_empty() {
            self.add(RETURN, libc::SECCOMP_RET_ALLOW);
        }
        self.add(RETURN, refusal(rule.error));
    }

    fn test(&mut self, test: &Test, failed: usize) {
        self.add(LOAD, ARGUMENTS + 8 * test.argument);
        self.add(AND, test.mask);
        match test.is {
            Is::Equal(value) => self.branch(JUMP_EQUAL, value, 0, failed),
            Is::AtLeast(value) => self.branch(JUMP_AT_LEAST, value, 0, failed),
            Is::OwnPid => {
                self.own_pid.push(self.program.len());
                // No process has this id, should it stay.
                self.branch(JUMP_EQUAL, u32::MAX, 0, failed);
            }
        }
    }

    fn add(&mut self, code: u16, k: u32) {
        self.program.push(sock_filter { code, jt: 0, jf: 0, k });
    }

    /// Skips so many instructions when the comparison holds, or when it does not.
    fn branch(&mut self, code: u16, k: u32, holds: u8, fails: usize) {
        // A rule has two tests at most: far from the limit, beyond which the kernel would refuse the program.
        self.program.push(sock_filter { code, jt: holds, jf: u8::try_from(fails).unwrap_or(u8::MAX), k });
    }
}

fn refusal(error: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | error.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confine::calls;
    use banger_model::spec::VmmKind;
    use proptest::prelude::*;

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const PID: u32 = 4711;

    /// What the kernel would make of a call.
    fn run(program: &[sock_filter], architecture: u32, call: u32, arguments: [u64; 6]) -> u32 {
        let word = |offset: u32| match offset {
            NUMBER => call,
            ARCHITECTURE => architecture,
            _ => u32::try_from(arguments[(offset as usize - 16) / 8] & 0xffff_ffff).unwrap(),
        };
        let (mut at, mut held) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            let jump = |holds| usize::from(if holds { jt } else { jf });
            match code {
                LOAD => held = word(k),
                AND => held &= k,
                JUMP_EQUAL => at += jump(held == k),
                JUMP_AT_LEAST => at += jump(held >= k),
                RETURN => return k,
                _ => panic!("no such instruction: {code}"),
            }
        }
    }

    fn allowed(kind: VmmKind, call: i64, arguments: &[u64]) -> bool {
        let mut all = [0; 6];
        all[..arguments.len()].copy_from_slice(arguments);
        let mut filter = compile(&calls::of(kind));
        run(filter.for_process(PID), X86_64, u32::try_from(call).unwrap(), all) == ALLOW
    }

    #[test]
    fn the_exceptions_are_what_they_say() {
        let qemu = |call, arguments: &[u64]| allowed(VmmKind::Qemu, call, arguments);
        let own = u64::from(PID);
        assert!(qemu(libc::SYS_read, &[]) && qemu(libc::SYS_accept4, &[]) && qemu(libc::SYS_execve, &[]));
        assert!(!qemu(libc::SYS_connect, &[]) && !qemu(libc::SYS_ptrace, &[]) && !qemu(libc::SYS_fork, &[]));
        assert!(qemu(libc::SYS_tgkill, &[own, own + 1, 10]) && !qemu(libc::SYS_tgkill, &[own + 1, own + 1, 10]));
        assert!(
            qemu(libc::SYS_kill, &[own, 9]) && !qemu(libc::SYS_kill, &[0, 9]) && !qemu(libc::SYS_kill, &[u64::MAX, 9])
        );
        // The kernel does not look at the upper half of a number either.
        assert!(!qemu(libc::SYS_kill, &[(own << 32) | 1, 9]));
        assert!(qemu(libc::SYS_socket, &[1, 0x8_0801, 0]), "with SOCK_CLOEXEC and SOCK_NONBLOCK");
        for (domain, kind) in [(1, 2), (1, 5), (2, 1), (10, 1), (16, 3), (40, 1)] {
            assert!(!qemu(libc::SYS_socket, &[domain, kind, 0]), "{domain} {kind}");
            assert!(!qemu(libc::SYS_socketpair, &[domain, kind, 0]), "{domain} {kind}");
        }
        assert!(qemu(libc::SYS_clone, &[0x3d_0f00]), "as pthread_create does");
        assert!(!qemu(libc::SYS_clone, &[17]), "as fork does");
        assert!(qemu(libc::SYS_prlimit64, &[0]) && !qemu(libc::SYS_prlimit64, &[1]));
        assert!(qemu(libc::SYS_setpriority, &[0, 0]) && !qemu(libc::SYS_setpriority, &[0, 1]));
        assert!(!qemu(libc::SYS_setpriority, &[2, 0]), "all of the user's");
        assert!(!qemu(libc::SYS_tkill, &[1, 40]));
        assert!(allowed(VmmKind::Firecracker, libc::SYS_tkill, &[1, 40]));
        assert!(!allowed(VmmKind::Firecracker, libc::SYS_tkill, &[1, 9]));
    }

    #[test]
    fn calls_of_another_kind_do_not_pass_under_the_numbers_of_this_one() {
        let mut filter = compile(&calls::of(VmmKind::Qemu));
        let program = filter.for_process(PID);
        // 32-bit x86, where `read` is 3 and `execve` 11.
        assert_eq!(run(program, 0x4000_0003, 3, [0; 6]), libc::SECCOMP_RET_KILL_PROCESS);
        assert_eq!(run(program, X86_64, X32 | 42, [0; 6]), refusal(libc::ENOSYS));
    }

    proptest! {
        #[test]
        fn every_rule_alone_is_judged_the_same_as_among_all(call in 0u32..470, arguments: [u64; 6]) {
            let rules = calls::of(VmmKind::Firecracker);
            let together = run(compile(&rules).for_process(PID), X86_64, call, arguments);
            let mine: Vec<_> = rules.into_iter().filter(|rule| rule.call == i64::from(call)).collect();
            let alone = run(compile(&mine).for_process(PID), X86_64, call, arguments);
            prop_assert_eq!(together, alone);
            prop_assert!(!mine.is_empty() || together == ALLOW);
        }
    }
}
