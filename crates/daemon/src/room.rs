//! Whether the host has room for what VMs may take: memory now, disks later. Pure.
//!
//! Both are promised beyond what is there, within reason. A guest takes memory when it first touches it, and most never touch all
//! of theirs; its disks are sparse, and most stay so. Memory that is wanted and not there ends VMMs, so a start that would
//! come to that is refused; a full disk is an error in the guest, so it is told of before.

use crate::host_facts::HostFacts;
use crate::verbs::VerbError;
use banger_model::ByteSize;

/// From running guests' memory that they have not touched yet, this part is kept free for them: one in so many bytes.
const KEPT_ONE_IN: u64 = 2;
/// With less free than this, a disk that may outgrow it is told of.
const LOW: ByteSize = ByteSize::gib(1);

/// A VM that runs, and its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    /// What its guest was given.
    pub(crate) promised: ByteSize,
    /// What its VMM holds by now.
    pub(crate) taken: ByteSize,
}

/// Refuses a guest that the host, with `available` bytes to be had without swapping, could not give its memory to beside the
/// VMs that run.
pub(crate) fn check_memory(
    facts: &HostFacts,
    available: ByteSize,
    running: &[Claim],
    asked: ByteSize,
) -> Result<(), VerbError> {
    let untouched: u64 = running.iter().map(|claim| claim.promised.0.saturating_sub(claim.taken.0)).sum();
    let kept = ByteSize(untouched / KEPT_ONE_IN);
    match asked.0.saturating_add(kept.0) > available.0 {
        true => Err(VerbError::Memory { asked, available, total: facts.memory_total, kept }),
        false => Ok(()),
    }
}

/// How a VM's disks stand to the file system that they are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DiskRoom {
    /// What is free there.
    pub(crate) free: ByteSize,
    /// What they may still take.
    pub(crate) growth: ByteSize,
}

impl DiskRoom {
    /// A word to the user when the guest may soon be unable to write.
    pub(crate) fn warning(&self) -> Option<String> {
        let Self { free, growth } = self;
        (*free < LOW && free < growth).then(|| {
            format!(
                "the host has only {free} free for its disks, which may still grow by {growth}: the guest's writes fail when \
                 that is used up"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: HostFacts = HostFacts { cpus: 2, memory_total: ByteSize::gib(16) };

    fn admitted(available: u64, running: &[(u64, u64)], asked: u64) -> bool {
        let claims: Vec<_> = running
            .iter()
            .map(|(promised, taken)| Claim { promised: ByteSize::gib(*promised), taken: ByteSize::gib(*taken) })
            .collect();
        check_memory(&FACTS, ByteSize::gib(available), &claims, ByteSize::gib(asked)).is_ok()
    }

    #[test]
    fn memory_that_is_not_there_is_not_given() {
        assert!(admitted(4, &[], 4));
        assert!(!admitted(4, &[], 5));
        // Of the 8 GiB that those two may still take, 4 are kept.
        assert!(admitted(10, &[(4, 0), (5, 1)], 6));
        assert!(!admitted(9, &[(4, 0), (5, 1)], 6));
        // What has been taken is not free any more, and takes nothing away again.
        assert!(admitted(4, &[(4, 4), (4, 5)], 4));
    }

    #[test]
    fn reasonable_overcommitment_is_not_forbidden() {
        // Guests of an eighth of the host each that use little: more of them than eight.
        let running = |count| vec![(2, 0); count];
        assert!(admitted(15, &running(12), 2));
        assert!(!admitted(15, &running(14), 2));
    }

    #[test]
    fn the_refusal_has_the_figures() {
        let claim = Claim { promised: ByteSize::gib(4), taken: ByteSize(0) };
        let refused = check_memory(&FACTS, ByteSize::gib(3), &[claim], ByteSize::gib(2)).unwrap_err().to_string();
        for figure in ["2 GiB of memory", "3 GiB of its 16 GiB are free", "2 GiB of that are kept"] {
            assert!(refused.contains(figure), "{refused}");
        }
        let refused = check_memory(&FACTS, ByteSize::gib(3), &[], ByteSize::gib(4)).unwrap_err().to_string();
        assert!(!refused.contains("kept"), "{refused}");
    }

    #[test]
    fn disks_are_told_of_when_little_is_free_and_they_may_outgrow_it() {
        let warns = |free, growth| DiskRoom { free, growth }.warning().is_some();
        assert!(warns(ByteSize::mib(900), ByteSize::gib(8)));
        assert!(!warns(ByteSize::gib(2), ByteSize::gib(8)), "they may, but not soon");
        assert!(!warns(ByteSize::mib(900), ByteSize::mib(800)), "they never will");
    }
}
