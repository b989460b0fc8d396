//! Images in registries (OCI distribution specification 1.1).
//!
//! Owns: finding manifest and configuration of a reference, and reading layers. Must not: trust what comes: documents are
//! checked against the digests that led to them, layers by [`super::verify`]. Synchronous, with one connection for the
//! documents and one for each layer; everything that waits obeys its [`Cancel`](crate::cancel::Cancel) within a tenth of a
//! second.

mod blob;
mod challenge;
mod client;
mod error;
mod net;
mod place;

pub use error::RegistryError;

use super::oci::{self, Blobs, Described};
use super::{InvalidImage, PullOptions, SourceError};
use crate::cancel::Cancel;
use crate::progress::Progress;
use banger_model::Digest;
use banger_model::reference::{RegistryRef, Selector};
use client::{Ask, Client, Failure};
use std::io::Read;
use ureq::Agent;

/// Everything that may describe an image.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// A repository of a registry.
#[derive(Debug)]
pub(super) struct Registry {
    reference: RegistryRef,
    client: Client,
}

/// One exchange about documents.
struct Documents<'a> {
    registry: &'a Registry,
    agent: Agent,
}

/// Asks the registry what `reference` means now.
pub(super) fn resolve(
    reference: &RegistryRef,
    options: &PullOptions,
    cancel: &Cancel,
) -> Result<(Described, Registry), SourceError> {
    let client = Client::new(&reference.host, &reference.repository, &options.insecure);
    let registry = Registry { reference: reference.clone(), client };
    let documents = Documents { agent: registry.client.documents(cancel), registry: &registry };
    let (wanted, expected, what) = match &reference.selector {
        Selector::Tag(tag) => (tag.clone(), None, format!("the tag {tag:?} of {}", reference.repository)),
        Selector::Digest(digest) => (digest.to_string(), Some(*digest), format!("the manifest {digest}")),
    };
    let manifest = documents.manifest_at(&wanted, &what, oci::MAX_MANIFEST)?;
    let found = oci::digest(&manifest.bytes);
    // A manifest of unbearable length was not read whole; its length is what will be told.
    let whole = manifest.bytes.len() as u64 <= oci::MAX_MANIFEST;
    if let Some(expected) = expected.or(manifest.announced).filter(|expected| whole && *expected != found) {
        let source = InvalidImage::Digest { what: "manifest", expected, found };
        return Err(SourceError::Image { subject: registry.subject(), source });
    }
    let described = oci::describe(&documents, manifest.bytes, &manifest.media_type)?;
    drop(documents);
    Ok((described, registry))
}

/// A manifest as it came.
struct Arrived {
    bytes: Vec<u8>,
    media_type: String,
    announced: Option<Digest>,
}

impl Documents<'_> {
    fn manifest_at(&self, wanted: &str, what: &str, limit: u64) -> Result<Arrived, SourceError> {
        let path = format!("/v2/{}/manifests/{wanted}", self.registry.reference.repository);
        let ask = Ask { what, path: &path, accept: ACCEPT, from: 0 };
        let response = self.registry.client.get(&self.agent, ask).map_err(|failure| self.registry.error(failure))?;
        let announced =
            response.headers().get("docker-content-digest").and_then(|text| text.to_str().ok()?.parse().ok());
        let media_type = client::content_type(response.headers());
        let bytes = self.read(response.into_body(), limit)?;
        Ok(Arrived { bytes, media_type, announced })
    }

    fn read(&self, body: ureq::Body, limit: u64) -> Result<Vec<u8>, SourceError> {
        client::read(body, limit, self.registry.client.host()).map_err(|failure| self.registry.error(failure))
    }
}

impl Blobs for Documents<'_> {
    fn subject(&self) -> String {
        self.registry.subject()
    }

    fn manifest(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, SourceError> {
        let what = format!("the manifest {digest}");
        self.manifest_at(&digest.to_string(), &what, limit).map(|arrived| arrived.bytes)
    }

    fn blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, SourceError> {
        let path = format!("/v2/{}/blobs/{digest}", self.registry.reference.repository);
        let ask = Ask { what: "the configuration", path: &path, accept: "*/*", from: 0 };
        let response = self.registry.client.get(&self.agent, ask).map_err(|failure| self.registry.error(failure))?;
        self.read(response.into_body(), limit)
    }
}

impl Registry {
    /// What errors call the image.
    pub(super) fn subject(&self) -> String {
        format!("docker://{}", self.reference)
    }

    /// The bytes of a layer.
    pub(super) fn open<'a>(
        &'a self,
        digest: Digest,
        size: u64,
        progress: &'a dyn Progress,
        cancel: &Cancel,
    ) -> impl Read + Send + 'a {
        blob::Blob::new(&self.client, &self.reference.repository, (digest, size), progress, cancel)
    }

    fn error(&self, failure: Failure) -> SourceError {
        match failure {
            Failure::Cancelled => SourceError::Cancelled,
            Failure::Registry(source) => SourceError::Registry { image: self.subject(), source },
        }
    }
}
