//! Every request is an operation with an id: the caller's, or one minted here, before anything can go wrong. It is in
//! every log record of the request, in the answer's header, and in every error.

use super::error::{Failure, Unanswered, body_of, log_refusal};
use axum::{
    body::{Body, HttpBody},
    extract::{FromRequestParts, Request},
    http::{HeaderValue, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use banger_model::{
    OpId,
    api::{OP_HEADER, VERSION_HEADER},
};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};
use tracing::{Instrument, Span};

/// A request's operation id.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Op(pub(crate) OpId);

/// The outermost layer: gives the request its id, and writes the answer to whatever failed inside.
pub(crate) async fn attach(mut request: Request, next: Next) -> Response {
    let asked = request.headers().get(OP_HEADER).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let parsed = asked.as_deref().map(str::parse::<OpId>).transpose();
    let op = parsed.as_ref().ok().copied().flatten().unwrap_or_else(crate::clock::new_op);
    request.extensions_mut().insert(Op(op));
    let span = tracing::info_span!("request", %op, method = %request.method(), path = request.uri().path());
    async move {
        let waiting = Waiting { begun: Instant::now(), answered: false };
        let mut response = match parsed {
            Ok(_) => next.run(request).await,
            Err(error) => Failure::bad("operation id", error).into_response(),
        };
        if let Some(Unanswered(failure)) = response.extensions_mut().remove::<Unanswered>() {
            response = answer(&failure, op, response);
        }
        if let Ok(value) = HeaderValue::from_str(&op.to_string()) {
            response.headers_mut().insert(OP_HEADER, value);
        }
        response.headers_mut().insert(VERSION_HEADER, HeaderValue::from_static(env!("CARGO_PKG_VERSION")));
        waiting.answered(response.status().as_u16());
        let span = Span::current();
        response.map(|body| Body::new(Told { body, span }))
    }
    .instrument(span)
    .await
}

/// What the client is told, with the headers that were found on the way, such as the methods that are allowed.
fn answer(failure: &Failure, op: OpId, unanswered: Response) -> Response {
    let (status, body) = body_of(failure, op);
    log_refusal(&body);
    let mut response = (status, axum::Json(body)).into_response();
    for (name, value) in unanswered.headers() {
        response.headers_mut().entry(name).or_insert_with(|| value.clone());
    }
    response
}

/// A request whose client waits. It leaves a word in the log also when the client goes before there is an answer, for
/// instance in the middle of its own body.
struct Waiting {
    begun: Instant,
    answered: bool,
}

impl Waiting {
    fn answered(mut self, status: u16) {
        self.answered = true;
        tracing::info!(status, ms = self.begun.elapsed().as_millis(), "answered");
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.answered {
            tracing::info!(ms = self.begun.elapsed().as_millis(), "the client left before it was answered");
        }
    }
}

/// What is told of an answer after its head, which belongs to the same operation.
struct Told {
    body: Body,
    span: Span,
}

impl HttpBody for Told {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let _entered = this.span.enter();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        if let Poll::Ready(Some(Err(error))) = &polled {
            tracing::warn!(error = error as &dyn std::error::Error, "the answer broke off");
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<S: Sync> FromRequestParts<S> for Op {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().copied().unwrap_or_else(|| Self(crate::clock::new_op())))
    }
}
