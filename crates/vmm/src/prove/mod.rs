//! Whether KVM works here, proved before it is trusted.
//!
//! A `/dev/kvm` that opens promises little: there are hosts where it makes VMs whose guests hang. So a throwaway guest is
//! booted, and KVM works if the agent in it answers. That is remembered for this boot of the host, for the same program
//! and the same kernel; whether the device is there and may be opened is found out anew each time.
//!
//! A guest that does not come up may be its kernel's fault. Where the guest of another kernel has come up before, that one is
//! tried as well, and decides: KVM works, and the start goes on and tells what is wrong with the kernel.
//!
//! Owns: the device's checks, the trial, and the file in which its outcome is remembered. Which engine is taken is
//! [`crate::choose`]'s.

mod absent;
mod device;
pub(crate) mod memory;
mod trial;

use crate::binary::Binary;
use crate::config::{Engine, Kernel};
use banger_model::spec::VmmKind;
use memory::Memory;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing::Instrument;

pub use absent::Absent;

/// How long a test guest may take to come up, on a host that starts its VMM in no time.
pub const BOUND: Duration = Duration::from_secs(5);
/// How long it may take on the slowest host.
pub const LONGEST: Duration = Duration::from_secs(60);

/// How long a test guest may take to come up when its VMM has needed `launch` to start it. That is the measure of a host's
/// speed: a guest needs less than ten times as long where KVM works, be the host idle, busy or itself emulated, and a host
/// whose KVM does not work is not waited for longer than its speed asks.
fn bound(launch: Duration) -> Duration {
    (BOUND + launch * 10).min(LONGEST)
}

/// Whether an engine can use KVM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// A guest's agent answered.
    Works,
    /// It cannot.
    Unusable(Unusable),
}

/// Why KVM cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "why")]
#[expect(missing_docs, reason = "each variant's message says what it is")]
pub enum Unusable {
    #[error("there is no /dev/kvm: {because}")]
    NoDevice { because: Absent },
    /// The group is the one that may, if there is one; `joined` when the user is in it, but was not yet when this session
    /// began.
    #[error("this user may not open /dev/kvm")]
    NoPermission { group: Option<String>, joined: bool },
    #[error("/dev/kvm is there, but makes no VM: {reason}")]
    Device { reason: String, busy: bool },
    #[error("/dev/kvm is there, but a test guest on it did not come up within {seconds} s")]
    Hangs { seconds: u64 },
    #[error("/dev/kvm is there, but a test guest on it failed: {reason}")]
    Fails { reason: String },
    #[error("nobody has tried whether it works")]
    Unproved,
}

impl Unusable {
    /// The reason without what a VMM said of it, which is for those who look into the matter.
    pub fn in_short(&self) -> String {
        match self {
            Self::Fails { .. } => "/dev/kvm is there, but a test guest on it failed".into(),
            other => other.to_string(),
        }
    }

    /// What the user can do about it.
    pub fn fix(&self) -> Option<String> {
        match self {
            Self::NoDevice { because } => Some(because.fix()),
            Self::NoPermission { group: Some(group), joined: true } => Some(format!(
                "log in again, since you joined the group {group} after this session began; then run `banger daemon stop`"
            )),
            Self::NoPermission { group: Some(group), joined: false } => {
                Some(format!("run `sudo usermod -aG {group} $USER`, log in again, then run `banger daemon stop`"))
            }
            Self::NoPermission { group: None, .. } => {
                Some("run `sudo chgrp kvm /dev/kvm && sudo chmod 660 /dev/kvm`, and join the group kvm".into())
            }
            Self::Device { busy: true, .. } => {
                Some("end the other hypervisor that holds the processor, such as VirtualBox or VMware".into())
            }
            Self::Device { busy: false, .. } => {
                Some("look at what the kernel says (`sudo dmesg | grep -i kvm`), and load its module again".into())
            }
            Self::Hangs { .. } | Self::Fails { .. } => {
                Some("on a virtual host, ask for nested virtualization; `banger doctor` tries again".into())
            }
            Self::Unproved => None,
        }
    }
}

/// What has been found out about the engines that use KVM.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proofs(Vec<(Engine, Verdict)>);

impl Proofs {
    /// The verdict on this engine, if there is one.
    pub fn of(&self, engine: Engine) -> Option<&Verdict> {
        self.0.iter().find(|(known, _)| *known == engine).map(|(_, verdict)| verdict)
    }
}

impl FromIterator<(Engine, Verdict)> for Proofs {
    fn from_iter<I: IntoIterator<Item = (Engine, Verdict)>>(verdicts: I) -> Self {
        Self(verdicts.into_iter().collect())
    }
}

/// What a proof needs.
#[derive(Debug, Clone)]
pub struct ProofSetup {
    /// What the guest boots: an initramfs with the agent.
    pub kernel: Kernel,
    /// Where outcomes are remembered. Made when missing.
    pub memory_dir: PathBuf,
    /// Where the trials' sockets and logs go, for trials only: whatever VMM runs there is killed first. Made when missing.
    pub runtime_dir: PathBuf,
}

/// Proves each of the `candidates` (see [`crate::choose::candidates`]), all at the same time and within [`LONGEST`] (on a
/// host of today, little more than [`BOUND`]), but for those whose outcome is remembered and not in [`doubt`]. Never fails: what keeps a guest from being tried is the verdict.
pub async fn prove(candidates: &[(Engine, Binary)], setup: &ProofSetup) -> Proofs {
    // Two proofs would be in each other's way; the second finds what the first has found.
    static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    if candidates.is_empty() {
        return Proofs::default();
    }
    let _turn = ONE_AT_A_TIME.lock().await;
    let all_are = |unusable: Unusable| {
        candidates.iter().map(|(engine, _)| (*engine, Verdict::Unusable(unusable.clone()))).collect()
    };
    let device = match device::open() {
        Ok(device) => device,
        Err(unusable) => return all_are(unusable),
    };
    let memories = candidates.iter().map(|(engine, binary)| Memory::of(*engine, binary, setup)).collect::<Vec<_>>();
    let known = memories.iter().map(|memory| memory.recall()).collect::<Vec<_>>();
    if known.iter().any(Option::is_none) {
        if let Err(unusable) = device::makes_a_vm(&device) {
            return all_are(unusable);
        }
        trial::sweep(setup).await;
    }
    let trials = candidates.iter().zip(memories).zip(known).map(|(((engine, binary), memory), known)| {
        let (engine, binary, setup) = (*engine, binary.clone(), setup.clone());
        let trial = async move {
            if let Some(verdict) = known {
                return (engine, verdict);
            }
            (engine, try_out(engine, binary, &setup, &memory).await)
        };
        // What is logged belongs to whoever asked first.
        tokio::spawn(trial.in_current_span())
    });
    let mut proofs = Proofs::default();
    for trial in trials.collect::<Vec<_>>() {
        // A trial that panicked has proved nothing.
        proofs.0.extend(trial.await.ok());
    }
    proofs
}

/// Finds a verdict by trials, and remembers it.
async fn try_out(engine: Engine, binary: Binary, setup: &ProofSetup, memory: &Memory) -> Verdict {
    let another = memory.another();
    // One that is known to fail tells nothing about KVM when it fails once more.
    let own = Some(setup.kernel.clone()).filter(|_| another.is_none() || !memory.never_came_up());
    let (mut verdict, mut came_up) = (Verdict::Unusable(Unusable::Unproved), false);
    for kernel in own.into_iter().chain(another) {
        let is_own = kernel == setup.kernel;
        verdict = trial::run(engine, binary.clone(), &ProofSetup { kernel, ..setup.clone() }).await;
        if verdict == Verdict::Works {
            came_up = is_own;
            break;
        }
    }
    tracing::info!(%engine, ?verdict, came_up, "tried KVM");
    memory.keep(&verdict, came_up);
    verdict
}

/// Lets what is remembered of the engines of that program be proved anew: a guest has not come up although it was proved, or
/// somebody wants to know.
pub fn doubt(kind: VmmKind, memory_dir: &Path) {
    memory::doubt(kind, memory_dir);
}

/// Whether the device is there, may be opened and makes a VM: what can be told without a guest.
///
/// # Errors
/// What stands in the way.
pub fn look() -> Result<(), Unusable> {
    device::open().and_then(|device| device::makes_a_vm(&device))
}

/// Ends trials that a killed daemon has left.
pub async fn sweep(setup: &ProofSetup) {
    trial::sweep(setup).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_survive_json() {
        for verdict in [
            Verdict::Works,
            Verdict::Unusable(Unusable::NoPermission { group: Some("kvm".into()), joined: false }),
            Verdict::Unusable(Unusable::NoDevice { because: Absent::Module { intel: true } }),
            Verdict::Unusable(Unusable::Hangs { seconds: 5 }),
        ] {
            let json = serde_json::to_string(&verdict).unwrap();
            assert_eq!(serde_json::from_str::<Verdict>(&json).unwrap(), verdict, "{json}");
        }
    }

    #[test]
    fn a_slow_host_gets_more_time_and_a_fast_one_is_not_waited_for() {
        let seconds = |launch| bound(Duration::from_millis(launch)).as_secs();
        assert_eq!((seconds(50), seconds(1500), seconds(30_000)), (5, 20, 60));
    }

    #[test]
    fn a_missing_right_names_the_group_to_join_or_says_that_it_was_joined() {
        let unusable = |joined| Unusable::NoPermission { group: Some("kvm".into()), joined };
        assert!(unusable(false).fix().unwrap().contains("usermod -aG kvm"));
        let fix = unusable(true).fix().unwrap();
        assert!(fix.contains("log in again") && !fix.contains("usermod"), "{fix}");
    }

    #[test]
    fn no_device_no_right_and_a_device_that_fails_are_told_apart_and_each_has_its_fix() {
        let all = [
            Unusable::NoDevice { because: Absent::Processor },
            Unusable::NoDevice { because: Absent::Module { intel: false } },
            Unusable::NoDevice { because: Absent::Node },
            Unusable::NoPermission { group: Some("kvm".into()), joined: false },
            Unusable::NoPermission { group: Some("kvm".into()), joined: true },
            Unusable::NoPermission { group: None, joined: false },
            Unusable::Device { reason: "busy".into(), busy: true },
            Unusable::Device { reason: "no".into(), busy: false },
            Unusable::Hangs { seconds: 5 },
        ];
        let fixes: std::collections::BTreeSet<_> = all.iter().map(|unusable| unusable.fix().unwrap()).collect();
        assert_eq!(fixes.len(), all.len());
        assert!(all.iter().all(|unusable| !unusable.in_short().contains('\n')));
    }
}
