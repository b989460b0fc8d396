//! Reading a layer and checking it on the way.
//!
//! Owns: the promise that the end of a layer is only seen when its length and digest were right. Must not: know where the
//! bytes come from.

use super::{LayerError, SourceError};
use crate::cancel::Cancel;
use banger_model::Digest;
use sha2::{Digest as _, Sha256};
use std::io::{self, Read};

/// What is known of a layer before it is read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Expected {
    pub(super) digest: Option<Digest>,
    pub(super) size: Option<u64>,
}

/// A reader that passes `inner` on and answers `Ok(0)` only when everything was as expected.
pub(super) struct Verified<R> {
    inner: R,
    subject: String,
    expected: Expected,
    cancel: Cancel,
    hash: Sha256,
    count: u64,
    ended: bool,
    on_end: Option<Box<dyn FnOnce(Digest) + Send>>,
}

impl<R: Read> Verified<R> {
    pub(super) fn new(inner: R, subject: String, expected: Expected, cancel: Cancel) -> Self {
        Self { inner, subject, expected, cancel, hash: Sha256::new(), count: 0, ended: false, on_end: None }
    }

    /// `tell` gets the digest of all bytes once the end was reached and everything was right.
    pub(super) fn on_end(mut self, tell: impl FnOnce(Digest) + Send + 'static) -> Self {
        self.on_end = Some(Box::new(tell));
        self
    }

    fn fail(&self, source: LayerError) -> io::Error {
        SourceError::Layer { subject: self.subject.clone(), source }.into()
    }

    /// The bytes are over.
    fn end(&mut self) -> io::Result<()> {
        if let Some(expected) = self.expected.size.filter(|size| *size != self.count) {
            return Err(self.fail(LayerError::Length { expected, found: self.count }));
        }
        let found = Digest::from_bytes(std::mem::take(&mut self.hash).finalize().into());
        if let Some(expected) = self.expected.digest.filter(|digest| *digest != found) {
            return Err(self.fail(LayerError::Digest { expected, found }));
        }
        self.ended = true;
        if let Some(tell) = self.on_end.take() {
            tell(found);
        }
        Ok(())
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended || buffer.is_empty() {
            return Ok(0);
        }
        self.cancel.check().map_err(SourceError::from)?;
        let count = match self.inner.read(buffer) {
            Ok(0) => return self.end().map(|()| 0),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => {
                return Err(match SourceError::from_read(error) {
                    Ok(error) => error.into(),
                    Err(error) => self.fail(LayerError::Read(error)),
                });
            }
        };
        self.hash.update(&buffer[..count]);
        self.count += count as u64;
        match self.expected.size {
            // There is no point in reading what is wrong already; and it may never end.
            Some(expected) if self.count > expected => {
                Err(self.fail(LayerError::Length { expected, found: self.count }))
            }
            _ => Ok(count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn digest(bytes: &[u8]) -> Digest {
        Digest::from_bytes(Sha256::digest(bytes).into())
    }

    fn read(bytes: &[u8], expected: Expected) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        let mut reader = Verified::new(bytes, "layer one".into(), expected, Cancel::new());
        match reader.read_to_end(&mut out) {
            Ok(_) => Ok(out),
            Err(error) => match SourceError::from_read(error).unwrap() {
                SourceError::Layer { source, .. } => Err(source.to_string()),
                other => panic!("{other}"),
            },
        }
    }

    #[test]
    fn the_end_is_seen_only_when_all_is_right() {
        let expected = |text: &[u8], size| Expected { digest: Some(digest(text)), size: Some(size) };
        assert_eq!(read(b"abc", expected(b"abc", 3)).unwrap(), b"abc");
        assert_eq!(read(b"abc", Expected::default()).unwrap(), b"abc");
        assert!(read(b"abc", expected(b"abd", 3)).unwrap_err().contains("hash to"));
        assert!(read(b"abc", expected(b"abc", 4)).unwrap_err().contains("has only 3"));
        assert!(read(b"abc", expected(b"abc", 2)).unwrap_err().contains("at least 3"));
    }

    #[test]
    fn the_digest_is_told_at_the_end_and_a_cancelled_reader_stops() {
        let (tell, told) = mpsc::channel();
        let cancel = Cancel::new();
        let mut reader = Verified::new(b"abc".as_slice(), String::new(), Expected::default(), cancel.clone())
            .on_end(move |digest| tell.send(digest).unwrap());
        reader.read_exact(&mut [0; 3]).unwrap();
        assert!(told.try_recv().is_err());
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
        assert_eq!(told.try_recv().unwrap(), digest(b"abc"));
        let mut reader = Verified::new(b"abc".as_slice(), String::new(), Expected::default(), cancel.clone());
        cancel.cancel();
        let error = SourceError::from_read(reader.read(&mut [0]).unwrap_err()).unwrap();
        assert!(matches!(error, SourceError::Cancelled));
    }
}
