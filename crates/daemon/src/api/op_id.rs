//! Every request is an operation with an id: the caller's, or one minted here, before anything can go wrong. It is in
//! every log record of the request, in the answer's header, and in every error.

use super::error::{Failure, body_of};
use axum::{
    extract::{FromRequestParts, Request},
    http::{HeaderValue, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use banger_model::{OpId, api::OP_HEADER};
use std::convert::Infallible;
use tracing::Instrument;

/// A request's operation id.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Op(pub(crate) OpId);

/// The outermost layer.
pub(crate) async fn attach(mut request: Request, next: Next) -> Response {
    let asked = request.headers().get(OP_HEADER).map(|value| value.to_str().unwrap_or_default().to_owned());
    let parsed = asked.as_deref().map(str::parse::<OpId>).transpose();
    let op = parsed.as_ref().ok().copied().flatten().unwrap_or_else(crate::clock::new_op);
    request.extensions_mut().insert(Op(op));
    let span = tracing::info_span!("request", %op, method = %request.method(), path = request.uri().path());
    async move {
        let begun = std::time::Instant::now();
        let mut response = match parsed {
            Ok(_) => next.run(request).await,
            Err(error) => Failure::BadRequest { what: "operation id", source: error.into() }.answer(op),
        };
        if let Ok(value) = HeaderValue::from_str(&op.to_string()) {
            response.headers_mut().insert(OP_HEADER, value);
        }
        tracing::info!(status = response.status().as_u16(), ms = begun.elapsed().as_millis(), "answered");
        response
    }
    .instrument(span)
    .await
}

impl<S: Sync> FromRequestParts<S> for Op {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().copied().unwrap_or_else(|| Self(crate::clock::new_op())))
    }
}

impl Failure {
    /// The answer to a request that failed.
    pub(crate) fn answer(&self, op: OpId) -> Response {
        let (status, body) = body_of(self, op);
        tracing::warn!(code = ?body.code, message = body.message, causes = ?body.causes, "refused or failed");
        (status, axum::Json(body)).into_response()
    }
}
