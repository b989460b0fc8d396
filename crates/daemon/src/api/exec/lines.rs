//! A command's output as lines of JSON, for clients that do not upgrade.

use crate::{
    api::{
        error::{Failure, body_of, log_refusal},
        events::line,
        op_id::Op,
        running::Running,
    },
    guest::{Channel, Incoming, SessionError},
};
use axum::{
    body::Body as HttpBody,
    http::header,
    response::{IntoResponse, Response},
};
use banger_model::{
    api::exec::ExecEvent,
    wire::{Body, Stream, guest::Reply},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::stream;
use std::collections::VecDeque;

/// What is left of the answer.
struct Answer {
    running: Running,
    channel: Channel,
    op: Op,
    stdin: Bytes,
    stdin_open: bool,
    events: VecDeque<ExecEvent>,
    /// What the client has been handed and has room for again when it asks for more.
    credit: Option<(Stream, u32)>,
    over: bool,
}

/// Answers with what the command writes, as the client takes it.
pub(super) fn answer(running: Running, channel: Channel, reply: Reply, stdin: Bytes, op: Op) -> Response {
    let mut events = VecDeque::new();
    if let Reply::Started { pid } = reply {
        events.push_back(ExecEvent::Started(pid));
    }
    let answer = Answer { running, channel, op, stdin, stdin_open: true, events, credit: None, over: false };
    let lines = stream::unfold(answer, |mut answer| async move {
        let event = answer.next().await?;
        Some((line(&event), answer))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], HttpBody::from_stream(lines)).into_response()
}

/// All of stdin, from the request.
pub(super) fn decode(stdin: &str) -> Result<Bytes, Failure> {
    STANDARD.decode(stdin).map(Bytes::from).map_err(|error| Failure::bad("stdin", error))
}

impl Answer {
    /// The next line. The stream ends after the one that is always last.
    async fn next(&mut self) -> Option<ExecEvent> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        if self.over {
            return None;
        }
        let shutdown = self.running.app.shutdown.clone();
        let event = tokio::select! {
            biased;
            event = self.listen() => event,
            () = shutdown.cancelled() => Err(Some(Failure::ShuttingDown)),
        };
        let event = match event {
            Ok(event) => event,
            Err(failure) => {
                let failure = match failure {
                    Some(failure) => failure,
                    None => self.running.lost().await,
                };
                let (_, body) = body_of(&failure, self.op.0);
                log_refusal(&body);
                ExecEvent::Failed(body)
            }
        };
        self.over = matches!(event, ExecEvent::Exit(_) | ExecEvent::Failed(_));
        Some(event)
    }

    /// Feeds the command and waits for what it says. Fails with nothing when the guest has gone.
    async fn listen(&mut self) -> Result<ExecEvent, Option<Failure>> {
        if let Some((stream, bytes)) = self.credit.take() {
            self.channel.send(Body::Credit(stream, bytes)).await.map_err(gone)?;
        }
        loop {
            if self.stdin_open {
                self.channel.feed(&mut self.stdin).await.map_err(gone)?;
                if self.stdin.is_empty() {
                    self.stdin_open = false;
                    self.channel.send(Body::Eof(Stream::Stdin)).await.map_err(gone)?;
                }
            }
            match self.channel.next().await {
                Incoming::Lost => return Err(None),
                Incoming::Body(Body::Data(stream, data)) => {
                    // Pieces of data are far below four gigabytes.
                    self.credit = u32::try_from(data.len()).ok().map(|bytes| (stream, bytes));
                    let text = STANDARD.encode(&data);
                    return Ok(if stream == Stream::Stderr {
                        ExecEvent::Stderr(text)
                    } else {
                        ExecEvent::Stdout(text)
                    });
                }
                Incoming::Body(Body::Exit(status)) => return Ok(ExecEvent::Exit(status)),
                Incoming::Body(_) => {}
            }
        }
    }
}

/// A session that has ended is the guest's end; anything else cannot happen to frames that fit their windows.
fn gone(_: SessionError) -> Option<Failure> {
    None
}
