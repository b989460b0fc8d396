//! The stages before a tar is read, each on a thread of its own.

use super::decode;
use super::pipe::{PipeReader, PipeWriter, pipe};
use crate::cancel::Cancel;
use crate::progress::Progress;
use crate::source::{Layer, Resolved, SourceError};
use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Scope;

/// Stored bytes that wait between fetching and unpacking, for each layer: 4 MiB.
const STORED: (usize, usize) = (256 << 10, 16);
/// Unpacked bytes that wait to be read: 6 MiB.
const UNPACKED: (usize, usize) = (512 << 10, 12);
/// How many layers are fetched at the same time.
const FETCHED: usize = 4;
/// Bytes between two reports of progress.
const STEP: u64 = 1 << 20;

/// What all stages share.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) source: &'a Resolved,
    pub(super) progress: &'a dyn Progress,
    pub(super) cancel: &'a Cancel,
    /// Stored bytes of all layers that were fetched so far.
    pub(super) fetched: &'a AtomicU64,
}

impl<'a> Context<'a> {
    /// How many bytes are stored, if that is known of every layer.
    pub(super) fn total(&self) -> Option<u64> {
        self.source.layers().iter().map(|layer| layer.size).sum()
    }

    fn open(&self, index: usize) -> Result<Counted<'a>, SourceError> {
        let inner = self.source.open(index, self.progress, self.cancel)?;
        Ok(Counted { inner, context: *self, total: self.total() })
    }
}

/// Counts what is fetched.
struct Counted<'a> {
    inner: Box<dyn Read + Send + 'a>,
    context: Context<'a>,
    total: Option<u64>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let before = self.context.fetched.fetch_add(count as u64, Ordering::Relaxed);
        let after = before + count as u64;
        if before / STEP != after / STEP {
            self.context.progress.bytes(after, self.total);
        }
        Ok(count)
    }
}

/// Begins to fetch a layer.
fn fetch<'scope, 'a: 'scope>(scope: &'scope Scope<'scope, '_>, context: Context<'a>, index: usize) -> PipeReader {
    let (writer, reader) = pipe(STORED.0, STORED.1);
    scope.spawn(move || {
        let passed = context.open(index).map_err(io::Error::from).and_then(|mut stored| writer.pass(&mut stored));
        match passed {
            Ok(true) => drop(writer.end()),
            Ok(false) => {}
            Err(error) => writer.fail(error),
        }
    });
    reader
}

/// Begins to unpack the layers with those indexes, in this order: the reader has a stream for each. An error is one of
/// fetching if [`SourceError::from_read`] says so, else one of unpacking.
pub(super) fn unpacked<'scope, 'a: 'scope>(
    scope: &'scope Scope<'scope, '_>,
    context: Context<'a>,
    order: Vec<usize>,
) -> PipeReader {
    let (writer, reader) = pipe(UNPACKED.0, UNPACKED.1);
    scope.spawn(move || {
        let mut ahead = VecDeque::new();
        let mut waiting = order.into_iter();
        loop {
            ahead.extend(
                waiting.by_ref().take(FETCHED - ahead.len()).map(|index| (index, fetch(scope, context, index))),
            );
            let Some((index, mut stored)) = ahead.pop_front() else { return };
            let Some(layer) = context.source.layers().get(index) else { return };
            match unpack_one(&writer, layer, &mut stored) {
                Ok(true) if writer.end() => {}
                Ok(_) => return,
                Err(error) => return writer.fail(error),
            }
        }
    });
    reader
}

fn unpack_one(writer: &PipeWriter, layer: &Layer, stored: &mut PipeReader) -> io::Result<bool> {
    let passed = decode::decoder(layer.encoding, &mut *stored).and_then(|mut tar| writer.pass(&mut tar));
    match passed {
        Ok(false) => Ok(false),
        // Only at the end of a layer is it known to be the right one.
        Ok(true) => stored.drain().map(|()| true),
        // Bytes that are damaged on the way should not be blamed on who packed them.
        Err(error) if error.get_ref().is_some_and(|inner| inner.is::<SourceError>()) => Err(error),
        Err(error) => Err(stored.drain().err().unwrap_or(error)),
    }
}
