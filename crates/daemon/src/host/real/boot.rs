//! From a VMM that runs to a guest that answers, and to its end.

use super::{RealHost, usernet};
use crate::{db::VmRow, guest::SessionError, host::BootError, op::OpCx};
use banger_model::{
    VmId,
    api::vm::EndReason,
    host_name::VmFile,
    spec::{Accel, NetMode},
    wire::guest::{GuestConfig, GuestFacts},
};
use banger_vmm::{
    console::{self, Ending},
    process::{Companion, Exit, Vmm},
};
use std::time::Duration;

/// How long a guest may take until its agent answers, unless the user says otherwise. Emulated ones take a few seconds on an
/// idle host, and much longer on one where many boot.
const TCG_BOUND: Duration = Duration::from_secs(120);
const KVM_BOUND: Duration = Duration::from_secs(60);
/// How long a guest may take to end in order: services have their own time-outs.
const SHUTDOWN_BOUND: Duration = Duration::from_secs(90);
/// How many of the console's last lines are in an error.
const CONSOLE_LINES: usize = 20;
/// How many of the VMM's last lines are in an error.
const LOG_LINES: usize = 8;

impl RealHost {
    pub(super) async fn boot_guest(&self, vm: &VmRow, cx: &OpCx) -> Result<GuestFacts, BootError> {
        let Some(vmm) = self.vmm(vm.id) else { return Err(self.ended_early(vm, Exit::Unknown)) };
        let bound = self.boot_bound(vm);
        let boots = async {
            tokio::select! {
                biased;
                exit = vmm.exited() => Err(self.ended_early(vm, exit)),
                facts = self.greet(vm, &vmm, bound) => facts,
            }
        };
        cx.cancellable(boots).await?
    }

    async fn greet(&self, vm: &VmRow, vmm: &Vmm, bound: Duration) -> Result<GuestFacts, BootError> {
        let console = self.places.console(vm.id, vm.boots);
        let session = match self.sessions.open_within(vm.id, vmm, Some(&console), bound).await {
            Ok(session) => session,
            // The VMM has ended: whoever watches for that says more.
            Err(SessionError::Ended) => return std::future::pending().await,
            Err(SessionError::Silent(_)) => {
                return Err(BootError::Silent { seconds: bound.as_secs(), console: self.console_tail(vm) });
            }
            Err(source) => return Err(BootError::Configure { source, console: self.console_tail(vm) }),
        };
        let config = GuestConfig {
            hostname: vm.name.to_string(),
            unix_ns: u64::try_from(crate::clock::now().as_nanos()).unwrap_or(u64::MAX),
            network: (vm.spec.net == NetMode::User).then(usernet::guest_network),
            authorized_keys: Vec::new(),
            image_init: true,
        };
        session
            .configure(config)
            .await
            .map_err(|source| BootError::Configure { source, console: self.console_tail(vm) })
    }

    /// Asks the guest to end, and waits for that. False when it did not, or could not be asked.
    pub(super) async fn shut_guest_down(&self, vm: &VmRow) -> bool {
        let Some(vmm) = self.vmm(vm.id) else { return false };
        let console = self.places.console(vm.id, vm.boots);
        let asked = async {
            let session = self.sessions.get(vm.id, &vmm).await?;
            session.shutdown().await
        };
        let ends = async {
            match asked.await {
                Ok(()) => vmm.ended(&console).await,
                // A guest that ends before it has answered has ended as well; one that refuses has not.
                Err(error) => {
                    tracing::warn!(vm = %vm.id, error = &error as &dyn std::error::Error, "could not ask the guest to end");
                    tokio::time::timeout(Duration::from_millis(500), vmm.exited()).await.unwrap_or(Exit::Unknown)
                }
            }
        };
        let _ = tokio::time::timeout(SHUTDOWN_BOUND, ends).await;
        !vmm.is_alive()
    }

    /// Waits for the VMM's end, and tells what it was.
    pub(super) async fn end_of(&self, vm: &VmRow) -> EndReason {
        let console = self.places.console(vm.id, vm.boots);
        let process = self.vmm(vm.id).or_else(|| self.vmms.last(vm.id));
        let exit = match process {
            Some(vmm) => vmm.ended(&console).await,
            None => Exit::Unknown,
        };
        match (console::ending(&console), exit) {
            (Ok(Ending::Panicked(message)), _) => EndReason::Panicked { message },
            (Ok(Ending::PoweredOff | Ending::Rebooted), _) | (_, Exit::Code(0)) => EndReason::PoweredOff,
            (_, Exit::Code(_) | Exit::Signal(_) | Exit::Unknown) => EndReason::Lost,
        }
    }

    fn ended_early(&self, vm: &VmRow, exit: Exit) -> BootError {
        let console = self.console_tail(vm);
        match console::ending(&self.places.console(vm.id, vm.boots)) {
            Ok(Ending::Panicked(message)) => BootError::Panicked { message, console },
            _ => {
                let log = console::complaints(&self.places.file(vm.id, VmFile::VmmLog), LOG_LINES).unwrap_or_default();
                BootError::VmmEnded { exit: exit.to_string(), console, log }
            }
        }
    }

    fn console_tail(&self, vm: &VmRow) -> Vec<String> {
        console::tail(&self.places.console(vm.id, vm.boots), CONSOLE_LINES).unwrap_or_default()
    }

    fn boot_bound(&self, vm: &VmRow) -> Duration {
        let asked = self.config.load().ok().and_then(|config| config.vm.boot_timeout);
        let usual = match vm.boot.as_ref().map(|boot| boot.accel) {
            Some(Accel::Kvm) => KVM_BOUND,
            Some(Accel::Tcg) | None => TCG_BOUND,
        };
        asked.map_or(usual, |seconds| Duration::from_secs(seconds.into()))
    }

    /// Waits for the end of the process that is the VM's network, and tells its last words.
    pub(super) async fn end_of_network(&self, vm: &VmRow) -> String {
        if vm.spec.net == NetMode::None {
            return std::future::pending().await;
        }
        let exit = match self.usernet(vm.id).or_else(|| self.usernets.last(vm.id)) {
            Some(process) => process.exited().await,
            None => Exit::Unknown,
        };
        let log = console::tail(&self.places.file(vm.id, VmFile::UserNetLog), 1).unwrap_or_default();
        match (exit, log.first()) {
            // Killed, it had no time for a word about it.
            (Exit::Code(_), Some(word)) => format!("{exit}: {word}"),
            (exit, _) => exit.to_string(),
        }
    }

    pub(super) fn usernet(&self, id: VmId) -> Option<Companion> {
        self.usernets.alive(id, &self.places.file(id, VmFile::UserNetRecord))
    }

    pub(super) fn vmm(&self, id: VmId) -> Option<Vmm> {
        self.vmms.alive(id, &self.places.file(id, VmFile::VmmRecord))
    }
}
