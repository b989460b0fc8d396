//! Following one operation from its first event to its last: progress for people, the events themselves for programs,
//! and Ctrl-C as a request to cancel.

use crate::{
    client::{Client, ClientError, Events, Route},
    error::CliError,
    output::{Ui, check, progress::Tracker},
};
use banger_model::{
    OpId,
    api::op::{OpEvent, OpResult},
};
use hyper::Method;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Whether Ctrl-C asks the daemon to cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interrupt {
    /// What builds up is undone; a second Ctrl-C leaves the daemon to it.
    Cancels,
    /// What takes down goes on without us.
    Leaves,
}

/// Where the events go as JSON.
pub(crate) enum Sink<'a> {
    /// To standard output, as they come.
    Stdout,
    /// Into these lines, each marked with what it is about, because several operations run at the same time.
    Collected(&'a str, &'a mut Vec<String>),
}

/// An operation that runs.
pub(crate) struct Operation<'a> {
    /// How the user is spoken to.
    pub(crate) ui: &'a Ui,
    /// For cancelling.
    pub(crate) client: &'a Client<'a>,
    /// What Ctrl-C does.
    pub(crate) interrupt: Interrupt,
}

impl Operation<'_> {
    /// Follows it to its end on standard output and error. The events stay open for whoever needs the connection.
    pub(crate) async fn follow(&self, events: &mut Events) -> Result<Option<OpResult>, CliError> {
        self.follow_into(events, None, &mut Sink::Stdout).await
    }

    /// Follows it to its end without a word.
    pub(crate) async fn follow_silently(&self, events: &mut Events) -> Result<(), CliError> {
        let mut interrupt = self.interrupt()?;
        loop {
            let line = tokio::select! {
                line = events.next() => line?,
                _ = interrupt.recv() => return Err(CliError::Interrupted),
            };
            match line.map(|line| line.event) {
                None => return Err(ClientError::NoEnd { what: "the operation".into() }.into()),
                Some(Some(OpEvent::Done { .. })) => return Ok(()),
                Some(Some(OpEvent::Failed { error })) => return Err(CliError::Operation(Box::new(error))),
                Some(_) => {}
            }
        }
    }

    /// Follows it to its end.
    ///
    /// # Errors
    /// [`CliError::Operation`] when it failed; [`CliError::Interrupted`] when the user did not want to wait.
    pub(crate) async fn follow_into(
        &self,
        events: &mut Events,
        label: Option<&str>,
        sink: &mut Sink<'_>,
    ) -> Result<Option<OpResult>, CliError> {
        let mut tracker = Tracker::new(self.ui, label);
        let mut interrupt = self.interrupt()?;
        let mut running: Option<(Option<OpId>, String)> = None;
        let mut cancelled = false;
        loop {
            let line = tokio::select! {
                line = events.next() => line.map_err(|error| CliError::from(error).of(op_of(&running)))?,
                _ = interrupt.recv() => {
                    match &running {
                        Some((Some(op), _)) if self.interrupt == Interrupt::Cancels && !cancelled => {
                            self.ui.say("cancelling; press Ctrl-C again not to wait for it");
                            self.client.tell(Method::DELETE, &Route::new(["operations", &op.to_string()])).await?;
                            cancelled = true;
                        }
                        _ => return Err(CliError::Interrupted),
                    }
                    continue;
                }
            };
            let Some(line) = line else {
                let op = op_of(&running);
                let what = running.map_or_else(|| "the operation".to_owned(), |(_, what)| what);
                return Err(CliError::from(ClientError::NoEnd { what }).of(op));
            };
            if self.ui.json {
                sink.take(self.ui, &line.text)?;
            }
            let Some(event) = line.event else { continue };
            tracker.event(&event);
            match event {
                OpEvent::Begun { op, what, .. } => {
                    self.ui.trace(|| op.map_or_else(|| what.clone(), |op| format!("{op}: {what}")));
                    running = Some((op, what));
                }
                OpEvent::Done { result } => return Ok(result.map(|result| *result)),
                // What was undone has been told by then.
                OpEvent::Failed { .. } if cancelled => return Err(CliError::Interrupted),
                OpEvent::Failed { error } => return Err(CliError::Operation(Box::new(error))),
                OpEvent::Check(found) if !self.ui.json => self.ui.print(&check::render(&found, self.ui.out))?,
                OpEvent::Plan(_)
                | OpEvent::Stage(_)
                | OpEvent::Progress { .. }
                | OpEvent::Check(_)
                | OpEvent::Note { .. } => {}
            }
        }
    }

    /// Ctrl-C, from now on ours to handle.
    fn interrupt(&self) -> Result<Signal, CliError> {
        signal(SignalKind::interrupt()).map_err(|source| CliError::Setup { what: "the handling of Ctrl-C", source })
    }
}

/// The id of what runs, once the daemon has told it.
fn op_of(running: &Option<(Option<OpId>, String)>) -> Option<OpId> {
    running.as_ref().and_then(|(op, _)| *op)
}

impl Sink<'_> {
    fn take(&mut self, ui: &Ui, line: &str) -> Result<(), CliError> {
        match self {
            Self::Stdout => ui.print_line(line)?,
            Self::Collected(name, lines) => lines.push(marked(name, line)),
        }
        Ok(())
    }
}

/// The event with the name in it of what it is about.
fn marked(name: &str, line: &str) -> String {
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(line) {
        Ok(mut event) => {
            event.insert("name".into(), name.into());
            serde_json::Value::Object(event).to_string()
        }
        Err(_) => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_marked_with_what_they_are_about() {
        assert_eq!(marked("box", r#"{"event":"note","text":"x"}"#), r#"{"event":"note","name":"box","text":"x"}"#);
    }
}
