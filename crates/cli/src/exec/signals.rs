//! Signals to us, and what they mean to the command.
//!
//! Without a terminal of its own, the command gets the signals that we get. With one, keys reach it as bytes, so a signal
//! comes from outside and is meant for us: we leave, and the command ends with us.

use super::terminal::Terminal;
use banger_model::wire::guest::TtySize;
use rustix::process::{Signal as Number, getpid, kill_process};
use std::{collections::VecDeque, io};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

/// Something to do for the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// Pass it on to the command.
    Forward(u8),
    /// End.
    Leave(u8),
    /// Tell the command.
    Resize(TtySize),
}

/// What comes, in its order.
#[derive(Debug)]
pub(super) struct Signals {
    coming: mpsc::UnboundedReceiver<Event>,
    kept: VecDeque<Event>,
}

impl From<mpsc::UnboundedReceiver<Event>> for Signals {
    fn from(coming: mpsc::UnboundedReceiver<Event>) -> Self {
        Self { coming, kept: VecDeque::new() }
    }
}

impl Signals {
    /// The next one; none when no more can come. Nothing is lost when that is not waited for to its end.
    pub(super) async fn recv(&mut self) -> Option<Event> {
        match self.kept.pop_front() {
            Some(event) => Some(event),
            None => self.coming.recv().await,
        }
    }

    /// For as long as there is no command yet: keeps for it what comes, until the user does not want to wait for it any more,
    /// and tells by which signal. A first one may still be meant for the command; a second one is for us.
    pub(super) async fn insist(&mut self) -> u8 {
        while let Some(event) = self.coming.recv().await {
            match event {
                Event::Leave(signal) => return signal,
                Event::Forward(signal) if self.kept.iter().any(|kept| matches!(kept, Event::Forward(_))) => {
                    return signal;
                }
                event => self.kept.push_back(event),
            }
        }
        std::future::pending().await
    }
}

const FORWARDED: [Number; 4] = [Number::INT, Number::TERM, Number::HUP, Number::QUIT];

/// Starts to listen; from now on these signals do not end us.
pub(super) fn listen(terminal: Option<&Terminal>) -> io::Result<Signals> {
    let (events, receiver) = mpsc::unbounded_channel();
    for number in FORWARDED {
        let Ok(byte) = u8::try_from(number.as_raw()) else { continue };
        let event = if terminal.is_some() { Event::Leave(byte) } else { Event::Forward(byte) };
        each(number, &events, move || event)?;
    }
    if let Some(terminal) = terminal {
        let resized = terminal.clone();
        each(Number::WINCH, &events, move || Event::Resize(resized.size()))?;
        let stopped = terminal.clone();
        each(Number::TSTP, &events, move || {
            stop(&stopped);
            // The window may have changed meanwhile.
            Event::Resize(stopped.size())
        })?;
    }
    Ok(receiver.into())
}

/// Stops this process with the terminal as it was before; returns when it is continued.
fn stop(terminal: &Terminal) {
    let was_raw = terminal.suspend();
    // Sent to ourselves, so it has taken effect when this returns: nothing runs until we are continued.
    let _ = kill_process(getpid(), Number::STOP);
    if was_raw {
        terminal.resume();
    }
}

fn each(
    number: Number,
    events: &mpsc::UnboundedSender<Event>,
    meaning: impl Fn() -> Event + Send + 'static,
) -> io::Result<()> {
    let mut signals: Signal = signal(SignalKind::from_raw(number.as_raw()))?;
    let events = events.clone();
    tokio::spawn(async move {
        while signals.recv().await.is_some() {
            if events.send(meaning()).is_err() {
                return;
            }
        }
    });
    Ok(())
}
