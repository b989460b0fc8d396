//! A guest that switches itself off under Firecracker.
//!
//! There is nothing behind a power switch there: the guest's kernel says its last words and halts, and the VMM goes on with
//! nothing to do, for ever. Its console is the only one to tell, so it is looked at, and such a VMM is ended.

use crate::console::{self, Ending};
use crate::process::{Exit, Vmm};
use banger_model::spec::VmmKind;
use std::path::Path;
use std::time::Duration;

/// How often a console is looked at: one `stat`, and no more while nothing is said.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// How long a killed VMM may take to go.
const KILL_BOUND: Duration = Duration::from_secs(5);

impl Vmm {
    /// Waits until the guest has ended, and its VMM with it: as [`Vmm::exited`], but ends a VMM whose guest has powered off
    /// according to the `console` of this boot. A guest that says so untruthfully ends nobody but itself.
    pub async fn ended(&self, console: &Path) -> Exit {
        if self.record().engine.kind() == VmmKind::Firecracker {
            tokio::select! {
                biased;
                exit = self.exited() => return exit,
                () = powered_off(console) => {}
            }
            if let Err(error) = self.kill_and_wait(KILL_BOUND).await {
                tracing::warn!(vm = %self.record().vm, %error, "a VMM whose guest has powered off lingers");
            }
        }
        self.exited().await
    }
}

async fn powered_off(console: &Path) {
    let mut seen = 0;
    loop {
        let length = std::fs::metadata(console).map_or(0, |meta| meta.len());
        if length != seen && matches!(console::ending(console), Ok(Ending::PoweredOff)) {
            return;
        }
        seen = length;
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    #[tokio::test]
    async fn only_the_kernels_own_words_are_an_end() {
        let console = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&console, "[    1.0] all is well\nreboot: Power down\n").unwrap();
        timeout(LOOK_AGAIN * 3, powered_off(console.path())).await.unwrap_err();
        let waiting = powered_off(console.path());
        std::fs::write(&console, "[    1.0] all is well\n[   26.130174] reboot: Power down\n").unwrap();
        timeout(LOOK_AGAIN * 40, waiting).await.unwrap();
    }
}
