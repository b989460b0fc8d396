//! What a VM's control group is limited to: pure.

use crate::config::Engine;
use banger_model::ByteSize;

/// A kind of limit that a part of the tree may have or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controller {
    /// Processor time.
    Cpu,
    /// Memory, what is cached of disks included.
    Memory,
    /// Processes and threads.
    Pids,
}

impl Controller {
    /// All that we have a use for.
    pub const ALL: [Self; 3] = [Self::Cpu, Self::Memory, Self::Pids];

    /// As the kernel calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Pids => "pids",
        }
    }
}

/// The span in which processor time is counted, in microseconds: the kernel's own default.
const PERIOD: u64 = 100_000;
/// What a VMM and its companions may do beside the vCPUs: disks, network, QEMU's main loop.
const BESIDE_VCPUS: u64 = 1;
/// Threads beside the vCPUs': QEMU has up to 64 for its disks, a companion a few.
const BESIDE_THREADS: u64 = 128;
/// What Firecracker takes beside the guest's memory, and companions with their buffers.
const OVERHEAD: ByteSize = ByteSize::mib(128);
/// What QEMU takes: its program, its threads and what it holds of disks and network.
const QEMU_OVERHEAD: ByteSize = ByteSize::mib(256);
/// What QEMU keeps of translated code at most: its default on hosts of 64 bits.
const TRANSLATED: ByteSize = ByteSize::gib(1);

/// The limits of one VM's group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupLimits {
    /// Processors that it may keep busy.
    cpus: u64,
    /// Bytes of memory.
    memory: u64,
    /// Processes and threads.
    pids: u64,
}

impl GroupLimits {
    /// For a VM of that size: the guest gets all that it was promised, and what runs it does not take more on the side.
    pub fn of(vcpu: u32, memory: ByteSize, engine: Engine) -> Self {
        let overhead = match engine {
            Engine::Firecracker => OVERHEAD.0,
            Engine::QemuKvm => OVERHEAD.0 + QEMU_OVERHEAD.0,
            Engine::QemuTcg => OVERHEAD.0 + QEMU_OVERHEAD.0 + TRANSLATED.0,
        };
        Self {
            cpus: u64::from(vcpu) + BESIDE_VCPUS,
            memory: memory.0.saturating_add(overhead),
            pids: u64::from(vcpu) + BESIDE_THREADS,
        }
    }

    /// Files of the group and what is written to them, for the controllers that there are.
    pub(super) fn settings(&self, controllers: &[Controller]) -> Vec<(&'static str, String)> {
        let setting = |controller: &Controller| match controller {
            Controller::Cpu => ("cpu.max", format!("{} {PERIOD}", self.cpus * PERIOD)),
            Controller::Memory => ("memory.max", self.memory.to_string()),
            Controller::Pids => ("pids.max", self.pids.to_string()),
        };
        controllers.iter().map(setting).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vm_gets_what_it_was_promised_and_a_little_for_its_vmm() {
        let settings = |engine| {
            let limits = GroupLimits::of(2, ByteSize::mib(512), engine);
            limits
                .settings(&Controller::ALL)
                .into_iter()
                .map(|(file, value)| format!("{file}={value}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(settings(Engine::Firecracker), ["cpu.max=300000 100000", "memory.max=671088640", "pids.max=130"]);
        assert_eq!(settings(Engine::QemuTcg)[1], format!("memory.max={}", (512 + 128 + 256 + 1024) << 20));
        assert_eq!(GroupLimits::default().settings(&[]), []);
    }
}
