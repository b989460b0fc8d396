//! Long operations over HTTP: the answer is a stream of events, one JSON object a line.
//!
//! The operation runs in a task of its own. The answer's body holds the receiving end of its events, so a client that goes
//! away is noticed by the operation, and by nobody else.

use super::error::{Failure, body_of};
use crate::{App, op::OpCx};
use axum::{
    body::Body,
    http::header,
    response::{IntoResponse, Response},
};
use banger_model::{
    OpId,
    api::op::{OpEvent, OpResult},
};
use bytes::Bytes;
use futures_util::{future::BoxFuture, stream};
use std::sync::Arc;
use tracing::Instrument;

/// What a successful operation leaves, and what is to live as long as the client's request.
pub(crate) struct Outcome {
    pub(super) result: Option<OpResult>,
    /// Done once the client has gone, the operation is told to end, or the daemon is. The answer stays open until then.
    pub(crate) afterwards: Option<BoxFuture<'static, ()>>,
}

impl From<OpResult> for Outcome {
    fn from(result: OpResult) -> Self {
        Self { result: Some(result), afterwards: None }
    }
}

/// Runs `work` as an operation and answers with its events.
pub(super) fn run<W, F>(app: &Arc<App>, op: OpId, what: String, work: W) -> Response
where
    W: FnOnce(Arc<App>, OpCx) -> F + Send + 'static,
    F: Future<Output = Result<Outcome, Failure>> + Send + 'static,
{
    let (cx, events) = match app.operations.begin(op, what) {
        Ok(begun) => begun,
        Err(open) => return Failure::from(open).into_response(),
    };
    let task = {
        let app = Arc::clone(app);
        async move {
            let ended = work(Arc::clone(&app), cx.clone()).await;
            match ended {
                Ok(Outcome { result, afterwards }) => {
                    tracing::info!("operation succeeded");
                    cx.finish(OpEvent::Done { result: result.map(Box::new) }).await;
                    if let Some(afterwards) = afterwards {
                        let _ = cx.abandonable(app.shutdown.cancelled()).await;
                        afterwards.await;
                    }
                }
                Err(failure) => {
                    if failure.after_effects() {
                        app.unsettled.notify_one();
                    }
                    let (_, error) = body_of(&failure, op);
                    tracing::warn!(code = ?error.code, error = error.message, causes = ?error.causes, "operation failed");
                    cx.finish(OpEvent::Failed { error }).await;
                }
            }
        }
    };
    app.tasks.spawn(task.in_current_span());
    let lines = stream::unfold(events, |mut events| async move {
        let event = events.recv().await?;
        Some((line(&event), events))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

/// A value as a line of NDJSON.
pub(super) fn line<T: serde::Serialize>(value: &T) -> Result<Bytes, serde_json::Error> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line.into())
}
