//! Reading a layer from a registry, and going on where it broke off.
//!
//! Owns: resuming. Must not: check what comes, beyond the length that is announced with it; that is done above.

use super::client::{Ask, Client, Failure, failure};
use super::error::RegistryError;
use super::net::pause;
use crate::cancel::Cancel;
use crate::progress::Progress;
use crate::source::SourceError;
use banger_model::Digest;
use std::io::{self, Read};
use std::time::Duration;
use ureq::http::header;
use ureq::{Agent, BodyReader};

/// How often in a row a connection may break off before much has come over it.
const MAX_ATTEMPTS: u32 = 5;
/// What makes a connection a good one, in bytes.
const GOOD: u64 = 1 << 20;
/// The wait before the second attempt. It doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// A server that skips bytes.
#[derive(Debug, thiserror::Error)]
#[error("it sent a later part than was asked for")]
struct WrongPart;

/// A layer on its way.
pub(super) struct Blob<'a> {
    client: &'a Client,
    agent: Agent,
    cancel: Cancel,
    progress: &'a dyn Progress,
    repository: &'a str,
    digest: Digest,
    size: u64,
    /// How many bytes have been handed on.
    at: u64,
    /// Where the present connection began.
    from: u64,
    body: Option<BodyReader<'static>>,
    attempts: u32,
}

impl<'a> Blob<'a> {
    pub(super) fn new(
        client: &'a Client,
        repository: &'a str,
        (digest, size): (Digest, u64),
        progress: &'a dyn Progress,
        cancel: &Cancel,
    ) -> Self {
        let agent = client.layers(cancel);
        let (cancel, body) = (cancel.clone(), None);
        Self { client, agent, cancel, progress, repository, digest, size, at: 0, from: 0, body, attempts: 0 }
    }

    fn what(&self) -> String {
        format!("the layer {}", self.digest)
    }

    /// Asks for what is missing.
    fn connect(&mut self) -> Result<BodyReader<'static>, Failure> {
        let path = format!("/v2/{}/blobs/{}", self.repository, self.digest);
        let ask = Ask { what: &self.what(), path: &path, accept: "*/*", from: self.at };
        let response = self.client.get(&self.agent, ask)?;
        let partial = response.status().as_u16() == 206;
        let begins = if partial { range_start(response.headers()).unwrap_or(self.at) } else { 0 };
        if begins > self.at {
            return Err(self.cut(io::Error::other(WrongPart)));
        }
        let announced = response.body().content_length().map(|length| begins.saturating_add(length));
        if let Some(found) = announced.filter(|found| *found != self.size) {
            let (host, what) = (self.client.host().to_owned(), self.what());
            return Err(RegistryError::Length { host, what, expected: self.size, found }.into());
        }
        let mut body = response.into_body().into_reader();
        // A server may ignore what part was asked for, and begin anew.
        let mut skip = self.at.saturating_sub(begins);
        let mut buffer = vec![0; 64 << 10];
        while skip > 0 {
            let most = usize::try_from(skip).unwrap_or(buffer.len()).min(buffer.len());
            match body.read(&mut buffer[..most]) {
                Ok(0) => return Err(self.cut(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => skip -= count as u64,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.cut(error)),
            }
        }
        self.from = self.at;
        Ok(body)
    }

    fn cut(&self, error: io::Error) -> Failure {
        failure(self.client.host(), ureq::Error::Io(error))
    }

    /// Decides what follows from a failure: another attempt, after a pause, or the end.
    fn failed(&mut self, failure: Failure) -> Result<(), SourceError> {
        self.body = None;
        let error = match failure {
            Failure::Cancelled => return Err(SourceError::Cancelled),
            Failure::Registry(error) => error,
        };
        if !may_pass(&error) {
            return Err(self.give_up(error));
        }
        if self.at >= self.from + GOOD {
            self.attempts = 0;
        }
        self.attempts += 1;
        if self.attempts >= MAX_ATTEMPTS {
            return Err(self.give_up(error));
        }
        self.progress.line(&format!(
            "{} broke off {} at {} of {} bytes: trying again",
            self.client.host(),
            self.what(),
            self.at,
            self.size
        ));
        pause(FIRST_PAUSE * 2_u32.pow(self.attempts - 1), &self.cancel)
    }

    fn give_up(&self, error: RegistryError) -> SourceError {
        let source = if self.at > 0 && self.attempts > 1 {
            let (host, what) = (self.client.host().to_owned(), self.what());
            let (at, size, attempts) = (self.at, self.size, self.attempts);
            RegistryError::BrokeOff { host, what, at, size, attempts, source: Box::new(error) }
        } else {
            error
        };
        let image = format!("{}/{}", self.client.host(), self.repository);
        SourceError::Registry { image, source }
    }
}

/// Whether the same request may work in a moment.
fn may_pass(error: &RegistryError) -> bool {
    match error {
        RegistryError::Unreachable { .. } | RegistryError::Http { .. } => true,
        RegistryError::Status { status, .. } => *status >= 500 || *status == 429,
        _ => false,
    }
}

/// Where a partial answer begins: `Content-Range: bytes START-END/SIZE`.
fn range_start(headers: &ureq::http::HeaderMap) -> Option<u64> {
    let text = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    text.trim().strip_prefix("bytes")?.trim_start().split('-').next()?.parse().ok()
}

impl Read for Blob<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let outcome = match &mut self.body {
                None if self.at >= self.size => return Ok(0),
                None => match self.connect() {
                    Ok(body) => {
                        self.body = Some(body);
                        continue;
                    }
                    Err(failure) => failure,
                },
                Some(body) => match body.read(buffer) {
                    Ok(0) if self.at < self.size => self.cut(io::ErrorKind::UnexpectedEof.into()),
                    Ok(count) => {
                        self.at += count as u64;
                        return Ok(count);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => self.cut(error),
                },
            };
            self.failed(outcome)?;
        }
    }
}
