//! What can go wrong between us and a registry.

use std::io;

/// Why a registry did not give what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No connection, or nothing comes over it.
    #[error("no answer from {host}")]
    Unreachable {
        /// The host, and its port if one was written.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// The connection's encryption could not be agreed on.
    #[error("no secure connection to {host}; if it has none, list it under `insecure` in the configuration")]
    Tls {
        /// The host.
        host: String,
        /// Why.
        source: Box<ureq::Error>,
    },
    /// It does not speak HTTP, or stopped in the middle.
    #[error("{host} did not answer as a web server should")]
    Http {
        /// The host.
        host: String,
        /// Why.
        source: Box<ureq::Error>,
    },
    /// It does not have it.
    #[error("{host} does not have {what}{}", detail.as_ref().map(|text| format!(": {text}")).unwrap_or_default())]
    NotFound {
        /// The host.
        host: String,
        /// What was asked for.
        what: String,
        /// What it said.
        detail: Option<String>,
    },
    /// It does not want to.
    #[error("{host} refuses {what} ({status}){}; it may be private, or not exist", detail.as_ref().map(|text| format!(": {text}")).unwrap_or_default())]
    Denied {
        /// The host.
        host: String,
        /// What was asked for.
        what: String,
        /// The HTTP status.
        status: u16,
        /// What it said.
        detail: Option<String>,
    },
    /// It answered with something else.
    #[error("{host} answered {status} to a request for {what}{}", detail.as_ref().map(|text| format!(": {text}")).unwrap_or_default())]
    Status {
        /// The host.
        host: String,
        /// What was asked for.
        what: String,
        /// The HTTP status.
        status: u16,
        /// What it said.
        detail: Option<String>,
    },
    /// It is a web site, or something is in between.
    #[error(
        "{host} answered with {content_type:?} to a request for {what}: it is no registry, or a login page is in between"
    )]
    NotRegistry {
        /// The host.
        host: String,
        /// What was asked for.
        what: String,
        /// What came.
        content_type: String,
    },
    /// It points to somewhere we do not go.
    #[error("{host} redirects to {to:?}, which is not followed: {reason}")]
    Redirect {
        /// The host.
        host: String,
        /// Where to.
        to: String,
        /// Why not.
        reason: &'static str,
    },
    /// It wants something that we cannot give.
    #[error("{host} wants a proof of identity that is not known here: {wanted:?}")]
    Challenge {
        /// The host.
        host: String,
        /// What it said.
        wanted: String,
    },
    /// The place for tokens gave none.
    #[error("{host} gave no token for {what}")]
    Token {
        /// The host.
        host: String,
        /// What for.
        what: String,
        /// Why.
        source: Option<serde_json::Error>,
    },
    /// It announced another length than the image's manifest.
    #[error("{host} announces {found} bytes for {what}, but the manifest says {expected}")]
    Length {
        /// The host.
        host: String,
        /// What was asked for.
        what: String,
        /// By the manifest.
        expected: u64,
        /// By the host.
        found: u64,
    },
    /// It broke off, again and again.
    #[error("{host} broke off {what} at {at} of {size} bytes, {attempts} times")]
    BrokeOff {
        /// The host.
        host: String,
        /// What was asked for.
        what: String,
        /// Where the last time.
        at: u64,
        /// How long it should have been.
        size: u64,
        /// How often it was tried.
        attempts: u32,
        /// What happened the last time.
        source: Box<RegistryError>,
    },
}
