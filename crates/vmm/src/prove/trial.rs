//! One throwaway guest, and whether its agent answers.

use super::{BOUND, ProofSetup, Unusable, Verdict, bound};
use crate::binary::Binary;
use crate::config::{Engine, VmmConfig};
use crate::console::{self, Ending};
use crate::launch::{LaunchError, START_BOUND, launch_within};
use crate::process::{Exit, Vmm};
use crate::scan::scan;
use banger_model::spec::DiskLimits;
use banger_model::wire::guest::DISKLESS;
use banger_model::wire::hello::{Greeting, Hunt, VERSION};
use banger_model::{ByteSize, VmId};
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout, timeout_at};

/// Enough for a kernel and an initramfs with its modules.
const MEMORY: ByteSize = ByteSize::mib(256);
/// How long until the agent is greeted again: what is said before it listens may be lost.
const GREET_AGAIN: Duration = Duration::from_millis(100);
/// Longest reason, in characters.
const MAX_REASON: usize = 160;
/// How long a killed VMM may take to go.
const KILL_BOUND: Duration = Duration::from_secs(5);

/// Boots a guest, greets its agent, kills it.
pub(super) async fn run(engine: Engine, binary: Binary, setup: &ProofSetup) -> Verdict {
    match attempt(engine, binary, setup).await {
        Ok(()) => Verdict::Works,
        Err(unusable) => Verdict::Unusable(unusable),
    }
}

async fn attempt(engine: Engine, binary: Binary, setup: &ProofSetup) -> Result<(), Unusable> {
    let fails = |reason: String| Unusable::Fails { reason };
    let late = |bound: Duration| Unusable::Hangs { seconds: bound.as_secs() };
    let folder = setup.runtime_dir.join(match engine {
        Engine::Firecracker => "f",
        Engine::QemuKvm | Engine::QemuTcg => "q",
    });
    make_private(&folder).map_err(|error| fails(format!("{}: {error}", folder.display())))?;
    let config = config(engine, binary, setup, &folder).map_err(|error| fails(error.to_string()))?;
    let start = Instant::now();
    let launched = launch_within(&config, START_BOUND).await;
    let bound = bound(start.elapsed());
    let outcome = match &launched {
        Err(LaunchError::Silent { bound, .. }) => Err(late(*bound)),
        Err(error) => {
            tracing::warn!(%engine, %error, "KVM cannot be used");
            Err(fails(explain(error)))
        }
        Ok(vmm) => match timeout(bound, greet(vmm)).await {
            Ok(None) => Ok(()),
            Ok(Some(exit)) => Err(fails(format!("{exit}, and its last words are: {}", last_words(&config)))),
            Err(_) => Err(late(bound)),
        },
    };
    if let Ok(vmm) = launched
        && let Err(error) = vmm.kill_and_wait(KILL_BOUND).await
    {
        tracing::warn!(%error, "a test guest lingers");
    }
    // Only what was looked at above lies there.
    let _ = std::fs::remove_dir_all(&folder);
    outcome
}

fn config(engine: Engine, binary: Binary, setup: &ProofSetup, folder: &Path) -> io::Result<VmmConfig> {
    let mut entropy = [0; 16];
    rustix::rand::getrandom(&mut entropy, rustix::rand::GetRandomFlags::empty())?;
    Ok(VmmConfig {
        vm: VmId::from_entropy(entropy),
        engine,
        binary,
        vcpu: 1,
        memory: MEMORY,
        kernel: setup.kernel.clone(),
        kernel_args: vec![DISKLESS.into()],
        disks: Vec::new(),
        disk_limits: DiskLimits::default(),
        net: None,
        runtime_dir: folder.into(),
        console_log: folder.join("console.log"),
        vmm_log: folder.join("vmm.log"),
        metrics: folder.join("metrics.json"),
        record: folder.join("vmm.json"),
        cgroup: None,
    })
}

/// An empty folder for its owner only.
fn make_private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// None when the agent answers; how the VMM ended when it does so instead. Waits for ever: the caller bounds it.
async fn greet(vmm: &Vmm) -> Option<Exit> {
    tokio::select! {
        biased;
        exit = vmm.exited() => Some(exit),
        () = answered(vmm) => None,
    }
}

async fn answered(vmm: &Vmm) {
    loop {
        if let Ok(stream) = vmm.connect_agent_within(None, BOUND).await
            && talk(stream).await.is_ok()
        {
            return;
        }
        tokio::time::sleep(GREET_AGAIN).await;
    }
}

/// Greets until the agent answers.
async fn talk(mut stream: UnixStream) -> io::Result<()> {
    let mut nonce = [0; 16];
    rustix::rand::getrandom(&mut nonce, rustix::rand::GetRandomFlags::empty())?;
    let greeting = Greeting { version: VERSION, nonce };
    let mut hunt = Hunt::for_guest();
    let mut buffer = [0; 512];
    loop {
        stream.write_all(&greeting.to_guest()).await?;
        let again = Instant::now() + GREET_AGAIN;
        while let Ok(read) = timeout_at(again, stream.read(&mut buffer)).await {
            let read = read?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if hunt.feed(&buffer[..read]).is_some_and(|(answer, _)| answer == greeting) {
                return Ok(());
            }
        }
    }
}

/// Why there was no guest, short enough for a line: the last words of a program that died, or an error with its causes.
fn explain(error: &LaunchError) -> String {
    let mut text = error.to_string();
    if let LaunchError::Died { binary, exit, log } = error {
        let name = binary.file_name().unwrap_or(binary.as_os_str()).display();
        let said = log.iter().find(|line| line.contains("error")).or(log.last());
        text = said.cloned().unwrap_or_else(|| format!("{name}: {exit}"));
    } else {
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
    }
    if let Some((end, _)) = text.char_indices().nth(MAX_REASON) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Why a guest ended, as far as its console or its VMM tells.
fn last_words(config: &VmmConfig) -> String {
    let last = |lines: io::Result<Vec<String>>| lines.ok().and_then(|mut lines| lines.pop());
    match console::ending(&config.console_log) {
        Ok(Ending::Panicked(message)) => format!("its kernel panicked: {message}"),
        _ => last(console::complaints(&config.vmm_log, 1))
            .or_else(|| last(console::tail(&config.console_log, 1)))
            .unwrap_or_else(|| "it ended without a word".into()),
    }
}

/// Kills what an earlier daemon may have left in the middle of a trial.
pub(super) async fn sweep(setup: &ProofSetup) {
    for record in scan(&setup.runtime_dir).unwrap_or_default() {
        if let Ok(Some(vmm)) = Vmm::adopt(&record)
            && let Err(error) = vmm.kill_and_wait(KILL_BOUND).await
        {
            tracing::warn!(%error, "a test guest of an earlier run lingers");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_model::wire::hello::GREETING_LEN;

    #[tokio::test]
    async fn an_agent_that_wakes_up_late_is_greeted_until_it_answers() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let agent = async {
            // It sleeps through the first greeting, and noise of an earlier session is still on its way.
            theirs.read_exact(&mut [0; GREETING_LEN]).await.unwrap();
            theirs.write_all(b"noise \x00bngr<g\x01 of an earlier session").await.unwrap();
            let mut hunt = Hunt::for_host();
            let mut buffer = [0; 7];
            loop {
                let read = theirs.read(&mut buffer).await.unwrap();
                if let Some((greeting, _)) = hunt.feed(&buffer[..read]) {
                    theirs.write_all(&greeting.to_host()).await.unwrap();
                    return;
                }
            }
        };
        let (talked, ()) = tokio::join!(talk(ours), agent);
        talked.unwrap();
    }

    #[tokio::test]
    async fn another_nonce_or_version_is_no_answer() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let agent = async move {
            let mut greeting = [0; GREETING_LEN];
            theirs.read_exact(&mut greeting).await.unwrap();
            let (greeting, _) = Hunt::for_host().feed(&greeting).unwrap();
            theirs.write_all(&Greeting { nonce: [9; 16], ..greeting }.to_host()).await.unwrap();
            theirs.write_all(&Greeting { version: VERSION + 1, ..greeting }.to_host()).await.unwrap();
        };
        // It hangs up then.
        let (talked, ()) = tokio::join!(talk(ours), agent);
        let talked = talked.unwrap_err().kind();
        assert!(matches!(
            talked,
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
        ));
    }
}
