//! Between threads that read and write files, and the connection: bounded queues of chunks.

use super::CopyError;
use crate::client::ClientError;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use std::{
    io::{self, Read, Write},
    pin::Pin,
    task::{Context, Poll, ready},
    thread,
};
use tokio::sync::{mpsc, oneshot};

/// Chunks that may wait.
const QUEUE: usize = 4;
/// The size of a chunk on its way out, in bytes.
const CHUNK: usize = 128 * 1024;

/// Runs `work` in a thread; the future waits for it. A thread rather than the runtime's pool, because the runtime would
/// wait for it at its end, and it may be stuck in a read for ever.
pub(super) fn in_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CopyError> + Send + 'static,
) -> Result<impl Future<Output = Result<T, CopyError>>, CopyError> {
    let (sender, result) = oneshot::channel();
    let thread = thread::Builder::new().name("files".into());
    thread.spawn(move || drop(sender.send(work()))).map_err(CopyError::local("start a thread for", "."))?;
    Ok(async move { result.await.unwrap_or(Err(CopyError::NoResult)) })
}

/// The thread's end of an upload.
pub(super) struct Writer {
    chunks: mpsc::Sender<Chunk>,
    buffer: BytesMut,
}

enum Chunk {
    Bytes(Bytes),
    /// Nothing is missing.
    End,
}

/// The connection's end of an upload. It ends with an error unless the writer ended properly, so that the other side never
/// takes half a tar for a whole one.
pub(super) struct Upload {
    chunks: mpsc::Receiver<Chunk>,
}

/// Both ends of an upload.
pub(super) fn upload() -> (Writer, Upload) {
    let (sender, chunks) = mpsc::channel(QUEUE);
    (Writer { chunks: sender, buffer: BytesMut::new() }, Upload { chunks })
}

impl Writer {
    /// Everything has been written.
    pub(super) fn end(mut self) -> Result<(), CopyError> {
        self.flush().and_then(|()| self.send(Chunk::End)).map_err(CopyError::Send)
    }

    fn send(&self, chunk: Chunk) -> io::Result<()> {
        self.chunks.blocking_send(chunk).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.buffer.is_empty() {
            true => Ok(()),
            false => {
                let bytes = self.buffer.split().freeze();
                self.send(Chunk::Bytes(bytes))
            }
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(match ready!(self.chunks.poll_recv(cx)) {
            Some(Chunk::Bytes(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(Chunk::End) => None,
            None => Some(Err(io::ErrorKind::UnexpectedEof.into())),
        })
    }
}

/// The thread's end of a download.
pub(super) struct Reader {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

/// The thread's end of a download, and the work of filling it. The work ends early when the reader is dropped.
pub(super) fn download(mut body: Incoming) -> (Reader, impl Future<Output = Result<(), ClientError>>) {
    let (sender, chunks) = mpsc::channel(QUEUE);
    let pump = async move {
        loop {
            match chunk(&mut body).await {
                Ok(Some(bytes)) => {
                    if sender.send(Ok(bytes)).await.is_err() {
                        return Ok(());
                    }
                }
                Ok(None) => return Ok(()),
                Err(error) => {
                    let _ = sender.send(Err(io::ErrorKind::UnexpectedEof.into())).await;
                    return Err(error);
                }
            }
        }
    };
    (Reader { chunks, current: Bytes::new() }, pump)
}

/// The next bytes of an answer; none at its end.
pub(super) async fn chunk(body: &mut Incoming) -> Result<Option<Bytes>, ClientError> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ClientError::BrokeOff(error.into()))?;
        if let Ok(bytes) = frame.into_data()
            && !bytes.is_empty()
        {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

impl Read for Reader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.current.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.current = chunk?,
                None => return Ok(0),
            }
        }
        let n = out.len().min(self.current.len());
        out[..n].copy_from_slice(&self.current.split_to(n));
        Ok(n)
    }
}
