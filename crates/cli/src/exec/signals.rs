//! Signals to us, and what they mean to the command.
//!
//! Without a terminal of its own, the command gets the signals that we get. With one, keys reach it as bytes, so a signal
//! comes from outside and is meant for us: we leave, and the command ends with us.

use super::terminal::Terminal;
use banger_model::wire::guest::TtySize;
use rustix::process::{Signal as Number, getpid, kill_process};
use std::io;
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

const FORWARDED: [Number; 4] = [Number::INT, Number::TERM, Number::HUP, Number::QUIT];

/// Starts to listen; from now on these signals do not end us.
pub(super) fn listen(terminal: Option<&Terminal>) -> io::Result<mpsc::UnboundedReceiver<Event>> {
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
    Ok(receiver)
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
