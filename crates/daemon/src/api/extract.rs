//! The parts of a request, with failures that are answered like all others.

use super::error::Failure;
use axum::{
    extract::{
        FromRequest, FromRequestParts, Request,
        rejection::{BytesRejection, JsonRejection},
    },
    http::{header, request::Parts},
};
use serde::de::DeserializeOwned;

/// The largest JSON body, in bytes: all of a command's stdin may be in it.
pub(super) const MAX_JSON: usize = 16 << 20;

/// A body of JSON.
#[derive(Debug)]
pub(super) struct Json<T>(pub(super) T);

/// The parameters of a path, decoded.
#[derive(Debug)]
pub(super) struct Path<T>(pub(super) T);

/// The parameters of a query.
#[derive(Debug)]
pub(super) struct Query<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Failure;
    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let got = request
            .headers()
            .get(header::CONTENT_TYPE)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        match axum::Json::from_request(request, state).await {
            Ok(axum::Json(value)) => Ok(Self(value)),
            Err(JsonRejection::MissingJsonContentType(_)) => Err(Failure::ContentType { got }),
            Err(JsonRejection::BytesRejection(BytesRejection::FailedToBufferBody(error)))
                if error.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE =>
            {
                Err(Failure::TooLarge { limit: MAX_JSON })
            }
            Err(error) => Err(Failure::bad("body", error)),
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(error) => Err(Failure::bad("path", error)),
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(error) => Err(Failure::bad("query", error)),
        }
    }
}
