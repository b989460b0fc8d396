//! Unpacking all layers of an image.

use super::error::UnpackError;
use super::flatten::{Flatten, LeafId, Verdict};
use super::pipe::{PipeReader, read_buffered};
use super::stages::{self, Context};
use super::tar::{Part, Reader, TarError};
use crate::cancel::Cancel;
use crate::ext4::{Kind, Spool, Tree};
use crate::progress::Progress;
use crate::source::{Layer, Resolved, SourceError};
use banger_model::{ByteSize, Digest};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::io::{self, BufRead, Read};
use std::sync::atomic::AtomicU64;

/// What an image may unpack to whatever its size.
const ALWAYS: u64 = 32 << 30;
/// Beyond that, how many times its size. Real images come to 5, files full of text to 20.
const RATIO: u64 = 100;
/// What may follow the end of a tar: padding to any record size that is in use.
const TRAILING: u64 = 16 << 20;
/// The least that [`planned_size`] says: holes cost nothing, and copying does. Tests make thousands of images.
const PLANNED_MIN: u64 = if cfg!(test) { 64 << 20 } else { 16 << 30 };
/// The most.
const PLANNED_MAX: u64 = 4 << 40;

/// A size for the file system that an image will be, with much room to spare; nothing is lost but speed if it is too small.
pub fn planned_size(source: &Resolved) -> u64 {
    let stored: u64 = source.layers().iter().filter_map(|layer| layer.size).fold(0, u64::saturating_add);
    stored.saturating_mul(12).clamp(PLANNED_MIN, PLANNED_MAX)
}

/// Unpacks all layers of `source`: contents into `spool`, and the rest into the tree that is returned. Every byte that the
/// source hands out is verified before this returns.
///
/// # Errors
/// When a layer is not to be had, is not what was announced, or makes no sense; when the spool cannot be written, or `cancel`
/// says so.
pub fn unpack(
    source: &Resolved,
    spool: &mut Spool,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Tree, UnpackError> {
    // A stage that waits for a network must not outlive a failure of another one.
    let stop = cancel.child();
    let fetched = AtomicU64::new(0);
    let context = Context { source, progress, cancel: &stop, fetched: &fetched };
    let limit = context.total().unwrap_or(0).saturating_mul(RATIO).max(ALWAYS);
    let mut work = Work { context, flatten: Flatten::new(), spool, limit, unpacked: 0 };
    let result = work.layers();
    stop.cancel();
    match result {
        // Whatever it looked like: that was why.
        Err(_) if cancel.is_cancelled() => Err(UnpackError::Cancelled),
        Err(error) => Err(error),
        Ok(()) => work.flatten.finish().map_err(UnpackError::Together),
    }
}

struct Work<'w> {
    context: Context<'w>,
    flatten: Flatten,
    spool: &'w mut Spool,
    limit: u64,
    unpacked: u64,
}

impl Work<'_> {
    fn layers(&mut self) -> Result<(), UnpackError> {
        let context = self.context;
        let order: Vec<usize> = (0..context.source.layers().len()).rev().collect();
        std::thread::scope(|scope| {
            let mut input = stages::unpacked(scope, context, order.clone());
            let mut result = Ok(());
            for index in order {
                let done;
                (input, done) = self.layer(index, input);
                result = done.and_then(|()| self.missed(index));
                if result.is_err() {
                    context.cancel.cancel();
                    break;
                }
                input.next_stream();
            }
            drop(input);
            result
        })
    }

    fn layer(&mut self, index: usize, input: PipeReader) -> (PipeReader, Result<(), UnpackError>) {
        let Some(layer) = self.context.source.layers().get(index) else { return (input, Ok(())) };
        let left = self.limit.saturating_sub(self.unpacked);
        let mut tar = Reader::new(Input::new(input, layer.diff_id, left, self.context.cancel));
        self.flatten.begin_layer(u32::try_from(index).unwrap_or(u32::MAX));
        let entries = self.entries(&mut tar);
        let mut input = tar.into_inner();
        let result = entries.and_then(|()| input.finish());
        self.unpacked += input.taken;
        let result = result.map_err(|fault| fault.of(&name(layer, index), self.limit));
        (input.inner, result)
    }

    fn entries(&mut self, tar: &mut Reader<Input<'_>>) -> Result<(), Fault> {
        while let Some(entry) = tar.next_entry()? {
            if tar.announced() > tar.get_ref().unread() {
                return Err(Fault::Input(io::Error::other(Refusal::TooMuch)));
            }
            let verdict = self.flatten.entry(entry).map_err(Fault::Flatten)?;
            self.contents(tar, verdict)?;
        }
        Ok(())
    }

    fn contents(&mut self, tar: &mut Reader<Input<'_>>, verdict: Verdict) -> Result<(), Fault> {
        let Verdict::Take(id) = verdict else { return Ok(()) };
        let mut incoming = self.spool.begin();
        let spool = &mut *self.spool;
        let done = tar.content(|part| match part {
            Part::Data(bytes) => spool.push(&mut incoming, bytes),
            Part::Hole(length) => spool.push_zeros(&mut incoming, length),
        })?;
        let content = done.and_then(|()| spool.end(incoming)).map_err(|error| Fault::Unpack(error.into()))?;
        self.flatten.fill(id, Kind::File(content));
        Ok(())
    }

    /// Reads a layer once more for the sake of hidden names that hard links lead to. Hardly any image has such.
    fn missed(&mut self, index: usize) -> Result<(), UnpackError> {
        let missed = self.flatten.missed();
        let Some(layer) = self.context.source.layers().get(index).filter(|_| !missed.is_empty()) else { return Ok(()) };
        let context = self.context;
        std::thread::scope(|scope| {
            let input = stages::unpacked(scope, context, vec![index]);
            let mut tar = Reader::new(Input::new(input, layer.diff_id, self.limit, context.cancel));
            let entries = self.missed_entries(&mut tar, &missed);
            let result = entries.and_then(|()| tar.into_inner().finish());
            if result.is_err() {
                context.cancel.cancel();
            }
            result.map_err(|fault| fault.of(&name(layer, index), self.limit))
        })
    }

    fn missed_entries(&mut self, tar: &mut Reader<Input<'_>>, missed: &HashMap<u64, LeafId>) -> Result<(), Fault> {
        let mut ordinal = 0;
        while let Some(entry) = tar.next_entry()? {
            if let Some(id) = missed.get(&ordinal) {
                let verdict = self.flatten.entry_again(*id, entry);
                self.contents(tar, verdict)?;
            }
            ordinal += 1;
        }
        Ok(())
    }
}

/// The layer, for people.
fn name(layer: &Layer, index: usize) -> String {
    match layer.digest {
        Some(digest) => format!("the layer {digest}"),
        None => format!("the layer {index}"),
    }
}

/// What goes wrong while a layer is read, before it is known which.
enum Fault {
    Unpack(UnpackError),
    Tar(TarError),
    Flatten(super::flatten::FlattenError),
    Input(io::Error),
    DiffId { expected: Digest, found: Digest },
}

impl From<TarError> for Fault {
    fn from(error: TarError) -> Self {
        match error {
            TarError::Read { source, .. } => Self::Input(source),
            error @ TarError::Entry { .. } => Self::Tar(error),
        }
    }
}

impl Fault {
    fn of(self, layer: &str, limit: u64) -> UnpackError {
        let layer = layer.to_owned();
        match self {
            Self::Unpack(error) => error,
            Self::Tar(source) => UnpackError::Tar { layer, source },
            Self::Flatten(source) => UnpackError::Flatten { layer, source },
            Self::DiffId { expected, found } => UnpackError::DiffId { layer, expected, found },
            Self::Input(error) => match error.downcast::<Refusal>() {
                Ok(Refusal::TooMuch) => UnpackError::TooLarge { layer, limit: ByteSize(limit) },
                Ok(Refusal::Trailing) => UnpackError::Trailing { layer, limit: ByteSize(TRAILING) },
                Ok(Refusal::Cancelled) => UnpackError::Cancelled,
                Err(error) => match SourceError::from_read(error) {
                    Ok(SourceError::Cancelled) => UnpackError::Cancelled,
                    Ok(error) => UnpackError::Source(error),
                    Err(source) => UnpackError::Decode { layer, source },
                },
            },
        }
    }
}

/// Why [`Input`] does not go on.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("too much")]
    TooMuch,
    #[error("too much behind the end")]
    Trailing,
    #[error("cancelled")]
    Cancelled,
}

/// The unpacked bytes of a layer: hashed, counted and bounded as they come.
struct Input<'c> {
    inner: PipeReader,
    hash: Option<(Sha256, Digest)>,
    left: u64,
    taken: u64,
    cancel: &'c Cancel,
}

impl<'c> Input<'c> {
    fn new(inner: PipeReader, diff_id: Option<Digest>, left: u64, cancel: &'c Cancel) -> Self {
        Self { inner, hash: diff_id.map(|expected| (Sha256::new(), expected)), left, taken: 0, cancel }
    }

    /// The most that may still be read.
    fn unread(&self) -> u64 {
        self.left + self.inner.buffered()
    }

    /// Reads to the end and says whether it was the right layer.
    fn finish(&mut self) -> Result<(), Fault> {
        let end = self.taken;
        loop {
            let length = self.fill_buf().map_err(Fault::Input)?.len();
            if length == 0 {
                break;
            }
            self.consume(length);
            if self.taken - end > TRAILING {
                return Err(Fault::Input(io::Error::other(Refusal::Trailing)));
            }
        }
        let Some((hash, expected)) = self.hash.take() else { return Ok(()) };
        let found = Digest::from_bytes(hash.finalize().into());
        if found == expected { Ok(()) } else { Err(Fault::DiffId { expected, found }) }
    }
}

impl BufRead for Input<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let is_new = self.inner.is_empty();
        if is_new && self.cancel.is_cancelled() {
            return Err(io::Error::other(Refusal::Cancelled));
        }
        let bytes = self.inner.fill_buf()?;
        if is_new && !bytes.is_empty() {
            let count = bytes.len() as u64;
            if count > self.left {
                return Err(io::Error::other(Refusal::TooMuch));
            }
            self.left -= count;
            self.taken += count;
            if let Some((hash, _)) = &mut self.hash {
                hash.update(bytes);
            }
        }
        Ok(bytes)
    }

    fn consume(&mut self, count: usize) {
        self.inner.consume(count);
    }
}

impl Read for Input<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::super::pipe::pipe;
    use super::*;

    #[test]
    fn what_is_more_than_allowed_is_not_handed_out() {
        let (writer, reader) = pipe(100, 8);
        writer.pass(&mut &[7; 350][..]).unwrap();
        writer.end();
        let cancel = Cancel::new();
        let mut input = Input::new(reader, None, 320, &cancel);
        let mut all = Vec::new();
        let error = input.read_to_end(&mut all).unwrap_err();
        assert_eq!(all.len(), 300);
        assert_eq!(error.downcast::<Refusal>().unwrap().to_string(), "too much");
    }

    #[test]
    fn a_cancelled_reader_stops_at_the_next_buffer() {
        let (writer, reader) = pipe(100, 4);
        writer.pass(&mut &[7; 250][..]).unwrap();
        let cancel = Cancel::new();
        let mut input = Input::new(reader, None, 320, &cancel);
        input.read_exact(&mut [0; 50]).unwrap();
        cancel.cancel();
        input.read_exact(&mut [0; 50]).unwrap();
        assert_eq!(input.read(&mut [0; 50]).unwrap_err().downcast::<Refusal>().unwrap().to_string(), "cancelled");
    }
}
