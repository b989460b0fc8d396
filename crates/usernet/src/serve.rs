//! The whole of one run: get what is needed, give up what is not, tell that it is ready, and move frames.

use crate::args::Args;
use crate::filter::Policy;
use crate::host_addresses::{HostAddresses, HostAddressesError};
use crate::passt::{Passt, PasstError};
use crate::probe::{ProbeError, probe};
use crate::relay::{Relay, RelayError};
use crate::sandbox;
use crate::signals::Stop;
use rustix::io::Errno;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

/// There is no network, or no longer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error("cannot leave the starter's session")]
    Detach(#[source] Errno),
    #[error("cannot take signals")]
    Signals(#[source] io::Error),
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
    #[error("QEMU cannot be reached at {path:?}")]
    Connect { path: PathBuf, source: io::Error },
    #[error("the network has ended{words}")]
    Relay { words: String, source: RelayError },
}

/// Serves one VM from beginning to end.
pub(crate) fn serve(args: &Args) -> Result<(), ServeError> {
    sandbox::detach().map_err(ServeError::Detach)?;
    let stop = Stop::listen().map_err(ServeError::Signals)?;
    let host = HostAddresses::watch()?;
    let policy = Policy { network: args.network, host: host.read()? };
    let (mut passt, net) = Passt::start(&args.passt, &args.network)?;
    // `passt` must be on its way before, as it could not confine itself within our confinement.
    let confined = sandbox::close_in().map_err(ServeError::Confine)?;
    if let Err(source) = probe(&net, &mut passt, &args.network) {
        return Err(ServeError::Probe { words: passt.last_words(), source });
    }
    let connected = UnixStream::connect(&args.socket);
    let guest = connected.map_err(|source| ServeError::Connect { path: args.socket.clone(), source })?;
    tracing::info!(landlock = ?confined, host = ?policy.host, "ready");
    tell_ready().map_err(ServeError::Ready)?;
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
