//! The one list of what a VM owns on the host.
//!
//! Start, stop, undo and recovery are two loops over [`ORDER`]: upwards `ensure`, downwards `remove`. There is no other
//! record of what has to be undone, so none can be lost.

use banger_model::vm::Target;
use std::fmt;

/// A host object that belongs to one VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Resource {
    /// The ext4 at `/root`, in the VM's folder.
    WorkDisk,
    /// The writable layer over the image, in the VM's folder.
    Layer,
    /// The control group of its processes, where there are such.
    Group,
    /// The VM's folder for sockets, below the runtime folder.
    Sockets,
    /// The process that runs the VM.
    Vmm,
    /// The process that is the VM's network, when it has one. It connects to the VMM, so that a VMM which lost one can have
    /// another.
    UserNet,
}

/// What a VM owns, in the order in which it is built up, each with the lowest target that needs it.
pub(crate) const ORDER: [(Resource, Target); 6] = [
    (Resource::WorkDisk, Target::Stopped),
    (Resource::Layer, Target::Stopped),
    (Resource::Group, Target::Running),
    (Resource::Sockets, Target::Running),
    (Resource::Vmm, Target::Running),
    (Resource::UserNet, Target::Running),
];

/// What has to be there for a target, in the order of building.
pub(crate) fn up_to(target: Target) -> impl Iterator<Item = Resource> {
    ORDER.into_iter().filter(move |(_, needs)| *needs <= target).map(|(resource, _)| resource)
}

/// What must not be there for a target, in the order of taking down.
pub(crate) fn beyond(target: Target) -> impl Iterator<Item = Resource> {
    ORDER.into_iter().rev().filter(move |(_, needs)| *needs > target).map(|(resource, _)| resource)
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::WorkDisk => "work disk",
            Self::Layer => "writable layer",
            Self::Group => "control group",
            Self::Sockets => "socket folder",
            Self::UserNet => "user-mode network",
            Self::Vmm => "VMM",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_resource_is_either_needed_or_unwanted() {
        for target in [Target::Absent, Target::Stopped, Target::Running] {
            let mut all: Vec<_> = up_to(target).chain(beyond(target)).collect();
            all.sort();
            assert_eq!(all.len(), ORDER.len(), "{target:?}");
        }
        assert_eq!(up_to(Target::Absent).count(), 0);
        assert_eq!(beyond(Target::Running).count(), 0);
    }

    #[test]
    fn building_up_never_goes_back_to_a_lower_target() {
        assert!(ORDER.is_sorted_by_key(|(_, needs)| *needs));
    }
}
