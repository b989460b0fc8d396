//! Whether `passt` works, before anybody is told that the network is there: it is asked, as a guest would, for its address.

use crate::answer::{arp_request, is_reply};
use crate::lane::{Lane, TooLong};
use crate::network::{Mac, Network};
use crate::passt::Passt;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// How long it may take to answer. It takes a few milliseconds on an idle host.
const BOUND: Duration = Duration::from_secs(10);
/// Who asks. `passt` sends to whoever it has heard last, so this is forgotten with the guest's first frame.
const ASKER: Mac = [0x52, 0x55, 0x0a, 0x00, 0x02, 0xfe];

/// `passt` does not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbeError {
    #[error("cannot speak with passt")]
    Stream(#[source] Errno),
    #[error("passt hangs up")]
    HungUp,
    #[error("passt does not speak frames")]
    Frames(#[from] TooLong),
    #[error("passt did not answer within {} seconds", BOUND.as_secs())]
    Late,
}

/// Returns once it has answered.
pub(crate) fn probe(stream: &UnixStream, passt: &mut Passt, network: &Network) -> Result<(), ProbeError> {
    let deadline = Instant::now() + BOUND;
    let mut question = Lane::new(0);
    question.inject(&arp_request(ASKER, network));
    rustix::net::send(stream, question.waiting(), SendFlags::NOSIGNAL).map_err(ProbeError::Stream)?;
    let mut answers = Lane::new(0);
    loop {
        let left = deadline.checked_duration_since(Instant::now()).ok_or(ProbeError::Late)?;
        wait(stream, passt, left)?;
        match rustix::net::recv(stream, answers.space(), RecvFlags::DONTWAIT) {
            Ok((_, 0)) | Err(Errno::CONNRESET) => return Err(ProbeError::HungUp),
            Ok((_, read)) => answers.fill(read),
            Err(Errno::AGAIN | Errno::INTR) => continue,
            Err(source) => return Err(ProbeError::Stream(source)),
        }
        let mut answered = false;
        answers.sift(|frame| {
            answered |= is_reply(frame);
            false
        })?;
        if answered {
            return Ok(());
        }
    }
}

/// Until there is something to read, or the time is over; takes in what `passt` says meanwhile.
fn wait(stream: &UnixStream, passt: &mut Passt, left: Duration) -> Result<(), ProbeError> {
    let mut fds = vec![PollFd::new(stream, PollFlags::IN)];
    let words = passt.stderr().map(|stderr| PollFd::from_borrowed_fd(stderr, PollFlags::IN));
    fds.extend(words);
    let left = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
    match poll(&mut fds, Some(&left)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(source) => return Err(ProbeError::Stream(source)),
    }
    if fds.get(1).is_some_and(|words| !words.revents().is_empty()) {
        passt.listen();
    }
    Ok(())
}
