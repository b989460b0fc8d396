//! The whole of one run: get what is needed, give up what is not, tell that it is ready, and move frames.

use crate::args::Args;
use crate::filter::Policy;
use crate::host_addresses::{HostAddresses, HostAddressesError};
use crate::listener::{Listener, ListenerError};
use crate::passt::{Passt, PasstError};
use crate::probe::{ProbeError, probe};
use crate::relay::{Relay, RelayError};
use crate::sandbox;
use crate::signals::Stop;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// How long QEMU may take to connect: the daemon starts it right after us, or has died meanwhile.
const CONNECT_BOUND: Duration = Duration::from_secs(60);

/// There is no network, or no longer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error("cannot leave the starter's session")]
    Detach(#[source] Errno),
    #[error("cannot take signals")]
    Signals(#[source] io::Error),
    #[error(transparent)]
    Listener(#[from] ListenerError),
    #[error(transparent)]
    Passt(#[from] PasstError),
    #[error(transparent)]
    HostAddresses(#[from] HostAddressesError),
    #[error("passt is of no use{words}")]
    Probe { words: String, source: ProbeError },
    #[error("cannot give up the rights that are not needed")]
    Confine(#[source] landlock::RulesetError),
    #[error("cannot tell that the network is ready")]
    Ready(#[source] io::Error),
    #[error("cannot wait for QEMU")]
    Wait(#[source] Errno),
    #[error("the network has ended{words}")]
    Relay { words: String, source: RelayError },
}

/// Serves one VM from beginning to end.
pub(crate) fn serve(args: &Args) -> Result<(), ServeError> {
    sandbox::detach().map_err(ServeError::Detach)?;
    let stop = Stop::listen().map_err(ServeError::Signals)?;
    let listener = Listener::bind(&args.socket)?;
    let host = HostAddresses::watch()?;
    let policy = Policy { network: args.network, host: host.read()? };
    let (mut passt, net) = Passt::start(&args.passt, &args.network)?;
    // `passt` must be on its way before, as it could not confine itself within our confinement.
    let confined = sandbox::close_in(&args.socket).map_err(ServeError::Confine)?;
    if let Err(source) = probe(&net, &mut passt, &args.network) {
        return Err(ServeError::Probe { words: passt.last_words(), source });
    }
    tracing::info!(landlock = ?confined, host = ?policy.host, "ready");
    tell_ready().map_err(ServeError::Ready)?;
    let Some(guest) = accept(listener, &stop)? else { return Ok(()) };
    tracing::info!("QEMU has connected");
    match Relay::new(&guest, &net, policy).run(&mut passt, &host, &stop) {
        Ok(end) => {
            tracing::info!(?end, "the network ends");
            Ok(())
        }
        Err(source @ RelayError::PasstHungUp) => Err(ServeError::Relay { words: passt.last_words(), source }),
        Err(source) => Err(ServeError::Relay { words: String::new(), source }),
    }
}

/// To whoever has started us, if he is still there.
fn tell_ready() -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(b"ready\n").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        told => told,
    }
}

/// QEMU's connection; none when a signal comes first, or nobody comes in time.
fn accept(listener: Listener, stop: &Stop) -> Result<Option<UnixStream>, ServeError> {
    let deadline = Instant::now() + CONNECT_BOUND;
    loop {
        let Some(left) = deadline.checked_duration_since(Instant::now()) else {
            tracing::warn!("nobody has connected within {} seconds", CONNECT_BOUND.as_secs());
            return Ok(None);
        };
        let left = Timespec::try_from(left).ok();
        let mut fds = [PollFd::new(&listener, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(source) => return Err(ServeError::Wait(source)),
        }
        let [connects, stops] = fds.map(|fd| !fd.revents().is_empty());
        if stops {
            return Ok(None);
        }
        if connects {
            return Ok(Some(listener.accept()?));
        }
    }
}
