//! Frames on their way between QEMU and `passt`: one thread, two lanes, nothing allocated for each frame.
//!
//! Owns: when to read and when to send, so that a side that does not take its frames stops the other and nothing grows.
//! What may pass is [`crate::filter`]'s.

use crate::answer;
use crate::filter::{Policy, Service, Verdict};
use crate::host_addresses::{HostAddresses, HostAddressesError};
use crate::lane::{Lane, TooLong};
use crate::packet::mend_reset;
use crate::passt::Passt;
use crate::signals::Stop;
use crate::tally::{From, Tally};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use std::os::unix::net::UnixStream;

/// Bytes on their way in each direction.
const LANE: usize = 512 * 1024;
/// What is sent to `passt` at once, in bytes. Versions before 2024 lose track of the stream when the header of a frame
/// comes in two parts; the kernel takes up to this much whole or not at all (one buffer of a Unix stream socket).
const BATCH: usize = 32 * 1024;

/// Why frames no longer move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// QEMU has closed its end.
    HungUp,
    /// A signal asked for it.
    Stopped,
}

/// Frames cannot move any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RelayError {
    #[error("cannot speak with {peer}")]
    Stream { peer: &'static str, source: Errno },
    #[error("{peer} does not send frames")]
    Frames { peer: &'static str, source: TooLong },
    #[error("passt has closed its end")]
    PasstHungUp,
    #[error("cannot wait for frames")]
    Wait(#[source] Errno),
    /// Whether a frame is for the host can no longer be told.
    #[error(transparent)]
    HostAddresses(#[from] HostAddressesError),
}

/// Both ends and all that lies between them.
pub(crate) struct Relay<'a> {
    guest: &'a UnixStream,
    net: &'a UnixStream,
    policy: Policy,
    to_net: Lane,
    to_guest: Lane,
    tally: Tally,
}

impl<'a> Relay<'a> {
    /// Between QEMU and `passt`.
    pub(crate) fn new(guest: &'a UnixStream, net: &'a UnixStream, policy: Policy) -> Self {
        Self { guest, net, policy, to_net: Lane::new(LANE), to_guest: Lane::new(LANE), tally: Tally::default() }
    }

    /// Moves frames until one end is gone or the process is asked to end; logs what has passed.
    pub(crate) fn run(mut self, passt: &mut Passt, host: &HostAddresses, stop: &Stop) -> Result<End, RelayError> {
        let end = loop {
            match self.turn(passt, host, stop) {
                Ok(None) => {}
                Ok(Some(end)) => break Ok(end),
                Err(error) => break Err(error),
            }
        };
        self.tally.report();
        end
    }

    /// Waits until something can be done, and does it.
    fn turn(&mut self, passt: &mut Passt, host: &HostAddresses, stop: &Stop) -> Result<Option<End>, RelayError> {
        let guest = interest(&mut self.to_net, &self.to_guest);
        let net = interest(&mut self.to_guest, &self.to_net);
        let words = passt.stderr();
        let mut fds = [
            PollFd::new(self.guest, guest),
            PollFd::new(self.net, net),
            PollFd::from_borrowed_fd(host.changed(), PollFlags::IN),
            PollFd::new(stop, PollFlags::IN),
            // The last is not looked at when there are no words to come.
            PollFd::from_borrowed_fd(words.unwrap_or(host.changed()), PollFlags::IN),
        ];
        let watched = if words.is_some() { 5 } else { 4 };
        match poll(&mut fds[..watched], None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(source) => return Err(RelayError::Wait(source)),
        }
        let happened = fds.map(|fd| fd.revents());
        if !happened[4].is_empty() {
            passt.listen();
        }
        if !happened[3].is_empty() {
            return Ok(Some(End::Stopped));
        }
        // Before any frame is judged that came after the change.
        if !happened[2].is_empty() {
            self.policy.host = host.read()?;
            tracing::info!(addresses = ?self.policy.host, "the host's addresses have changed");
        }
        if happened[0].contains(PollFlags::IN) {
            if !self.take_from_guest()? {
                return Ok(Some(End::HungUp));
            }
        } else if happened[0].intersects(gone()) {
            return Ok(Some(End::HungUp));
        }
        if happened[1].contains(PollFlags::IN) {
            self.take_from_net()?;
        } else if happened[1].intersects(gone()) {
            return Err(RelayError::PasstHungUp);
        }
        // Readiness to write matters only in that this is worth trying again.
        if !self.give_to_guest()? {
            return Ok(Some(End::HungUp));
        }
        self.give_to_net()?;
        Ok(None)
    }

    /// Reads and judges. False when QEMU has hung up.
    fn take_from_guest(&mut self) -> Result<bool, RelayError> {
        let peer = "QEMU";
        match read_into(&mut self.to_net, self.guest) {
            Ok(0) | Err(Errno::CONNRESET | Errno::PIPE) => return Ok(false),
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
            Err(source) => return Err(RelayError::Stream { peer, source }),
        }
        let Self { policy, to_net, to_guest, tally, .. } = self;
        let judged = to_net.sift(|frame| match policy.outbound(frame) {
            Verdict::Pass => {
                tally.pass(From::Guest, frame.len());
                true
            }
            Verdict::Answer(service) => {
                respond(to_guest, answer::answer(service, frame, &policy.network));
                false
            }
            Verdict::Refuse(reason) => {
                tally.deny(From::Guest, reason, frame);
                respond(to_guest, answer::prohibited(frame, &policy.network));
                false
            }
            Verdict::Drop(reason) => {
                tally.deny(From::Guest, reason, frame);
                false
            }
        });
        judged.map(|()| true).map_err(|source| RelayError::Frames { peer, source })
    }

    fn take_from_net(&mut self) -> Result<(), RelayError> {
        let peer = "passt";
        match read_into(&mut self.to_guest, self.net) {
            Ok(0) | Err(Errno::CONNRESET | Errno::PIPE) => return Err(RelayError::PasstHungUp),
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
            Err(source) => return Err(RelayError::Stream { peer, source }),
        }
        let Self { policy, to_guest, tally, .. } = self;
        let judged = to_guest.sift(|frame| match policy.inbound(frame) {
            Verdict::Pass => {
                tally.pass(From::Net, frame.len());
                mend_reset(frame);
                true
            }
            Verdict::Refuse(reason) | Verdict::Drop(reason) => {
                tally.deny(From::Net, reason, frame);
                false
            }
            // Services are for the guest only.
            Verdict::Answer(Service::Arp | Service::Dhcp) => false,
        });
        judged.map_err(|source| RelayError::Frames { peer, source })
    }

    /// False when QEMU has hung up.
    fn give_to_guest(&mut self) -> Result<bool, RelayError> {
        match send_all(&mut self.to_guest, self.guest, |lane| lane.waiting()) {
            Ok(()) => Ok(true),
            Err(Errno::PIPE | Errno::CONNRESET) => Ok(false),
            Err(source) => Err(RelayError::Stream { peer: "QEMU", source }),
        }
    }

    fn give_to_net(&mut self) -> Result<(), RelayError> {
        match send_all(&mut self.to_net, self.net, |lane| lane.batch(BATCH)) {
            Ok(()) => Ok(()),
            Err(Errno::PIPE | Errno::CONNRESET) => Err(RelayError::PasstHungUp),
            Err(source) => Err(RelayError::Stream { peer: "passt", source }),
        }
    }
}

/// What a socket is waited for: more frames if `from` has room for them, and its readiness if frames wait in `to`.
fn interest(from: &mut Lane, to: &Lane) -> PollFlags {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::IN, !from.space().is_empty());
    flags.set(PollFlags::OUT, !to.waiting().is_empty());
    flags
}

/// Nobody is at the other end any more.
fn gone() -> PollFlags {
    PollFlags::HUP | PollFlags::ERR
}

/// An answer of ours goes to the guest if there is room; as on any network, it may get lost.
fn respond(to_guest: &mut Lane, frame: Option<Vec<u8>>) {
    if let Some(frame) = frame {
        to_guest.inject(&frame);
    }
}

fn read_into(lane: &mut Lane, stream: &UnixStream) -> Result<usize, Errno> {
    let space = lane.space();
    if space.is_empty() {
        return Err(Errno::AGAIN);
    }
    let (_, read) = rustix::net::recv(stream, space, RecvFlags::DONTWAIT)?;
    lane.fill(read);
    Ok(read)
}

/// Sends until nothing is left or nothing more is taken.
fn send_all(lane: &mut Lane, stream: &UnixStream, next: impl Fn(&Lane) -> &[u8]) -> Result<(), Errno> {
    loop {
        let bytes = next(lane);
        if bytes.is_empty() {
            return Ok(());
        }
        match rustix::net::send(stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent) => lane.drain(sent),
            Err(Errno::AGAIN) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
