//! Our stdin on its way to the command.
//!
//! A thread reads, but never more than the command has room for, and never once the command has ended: what the next
//! program of the same shell should read is left where it is.

use banger_model::wire::frame::{INITIAL_WINDOW, MAX_DATA};
use bytes::Bytes;
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, eventfd, poll},
    fd::{AsFd, OwnedFd},
    fs::{FileType, fstat, makedev},
    io::{Errno, read, write},
};
use std::{
    io,
    sync::{Arc, mpsc as sync},
    thread,
};
use tokio::sync::mpsc;

/// Chunks that may wait for the session.
const QUEUE: usize = 4;

/// Whether `fd` is `/dev/null`.
pub(super) fn is_null(fd: impl AsFd) -> bool {
    fstat(fd).is_ok_and(|found| {
        FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice && found.st_rdev == makedev(1, 3)
    })
}

/// The reading end.
#[derive(Debug)]
pub(super) struct Input {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    room: sync::Sender<u32>,
    stop: Option<Arc<OwnedFd>>,
}

impl Input {
    /// Reads `fd` in a thread until its end, an error, or the drop of this.
    pub(super) fn spawn(fd: impl AsFd + Send + 'static) -> io::Result<Self> {
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (sender, chunks) = mpsc::channel(QUEUE);
        let (room, granted) = sync::channel();
        let stopped = Arc::clone(&stop);
        let pump = Pump { fd, stop: stopped, granted, room: INITIAL_WINDOW, chunks: sender };
        thread::Builder::new().name("stdin".into()).spawn(move || pump.run())?;
        Ok(Self { chunks, room, stop: Some(stop) })
    }

    /// An input that ends at once.
    pub(super) fn empty() -> Self {
        let (_, chunks) = mpsc::channel(1);
        let (room, _) = sync::channel();
        Self { chunks, room, stop: None }
    }

    /// The next bytes, or none at the end. Can be cancelled without loss.
    pub(super) async fn next(&mut self) -> Option<io::Result<Bytes>> {
        self.chunks.recv().await
    }

    /// The command has room for that many more bytes.
    pub(super) fn grant(&self, bytes: u32) {
        // A thread that has ended needs no room.
        let _ = self.room.send(bytes);
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if let Some(stop) = &self.stop {
            // Cannot fail: the counter is far from its limit.
            let _ = write(stop, &1u64.to_ne_bytes());
        }
    }
}

struct Pump<F> {
    fd: F,
    stop: Arc<OwnedFd>,
    granted: sync::Receiver<u32>,
    room: u32,
    chunks: mpsc::Sender<io::Result<Bytes>>,
}

impl<F: AsFd> Pump<F> {
    fn run(mut self) {
        let mut buffer = vec![0; MAX_DATA];
        while self.has_room() && self.is_readable() {
            let most = buffer.len().min(usize::try_from(self.room).unwrap_or(usize::MAX));
            let chunk = match read(&self.fd, &mut buffer[..most]) {
                // A terminal that hung up says EIO.
                Ok(0) | Err(Errno::IO) => return,
                Ok(n) => {
                    self.room = self.room.saturating_sub(u32::try_from(n).unwrap_or(u32::MAX));
                    Ok(Bytes::copy_from_slice(&buffer[..n]))
                }
                Err(Errno::INTR | Errno::AGAIN) => continue,
                Err(error) => Err(error.into()),
            };
            let failed = chunk.is_err();
            if self.chunks.blocking_send(chunk).is_err() || failed {
                return;
            }
        }
    }

    /// Waits for room; false when nobody wants more.
    fn has_room(&mut self) -> bool {
        while let Ok(more) = self.granted.try_recv() {
            self.room = self.room.saturating_add(more);
        }
        while self.room == 0 {
            match self.granted.recv() {
                Ok(more) => self.room = self.room.saturating_add(more),
                Err(sync::RecvError) => return false,
            }
        }
        true
    }

    /// Waits for something to read; false when nobody wants it.
    fn is_readable(&self) -> bool {
        loop {
            let mut fds =
                [PollFd::new(&self.stop, PollFlags::IN), PollFd::new(&self.fd, PollFlags::IN | PollFlags::PRI)];
            match poll(&mut fds, None) {
                Err(Errno::INTR) => {}
                // Reading will tell what is wrong.
                Err(_) => return true,
                Ok(_) if !fds[0].revents().is_empty() => return false,
                Ok(_) => return true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::pipe;
    use std::{io::Write, time::Duration};

    #[tokio::test]
    async fn never_reads_ahead_of_the_room_it_was_given() {
        let window = usize::try_from(INITIAL_WINDOW).unwrap();
        let (reader, writer) = pipe().unwrap();
        let (mut input, mut fed) = (Input::spawn(reader).unwrap(), std::fs::File::from(writer));
        let feeder = thread::spawn(move || fed.write_all(&vec![b'x'; window + 10]));
        let mut got = 0;
        while got < window {
            got += input.next().await.unwrap().unwrap().len();
        }
        assert_eq!(got, window);
        let more = tokio::time::timeout(Duration::from_millis(50), input.next()).await;
        assert!(more.is_err(), "it read on without room");
        input.grant(10);
        assert_eq!(input.next().await.unwrap().unwrap().len(), 10);
        input.grant(1);
        assert!(input.next().await.is_none(), "the end of the pipe is the end");
        feeder.join().unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_comes_after_its_drop_is_left_to_others() {
        let (reader, writer) = pipe().unwrap();
        let ours = rustix::io::dup(&reader).unwrap();
        let (mut chunks, mut writer) = {
            let input = Input::spawn(reader).unwrap();
            (input, std::fs::File::from(writer))
        };
        writer.write_all(b"first").unwrap();
        assert_eq!(chunks.next().await.unwrap().unwrap(), "first");
        // Dropping it ends the thread, which closes the channel from the other side.
        let (_, closed) = mpsc::channel(1);
        let mut receiver = std::mem::replace(&mut chunks.chunks, closed);
        drop(chunks);
        assert!(receiver.recv().await.is_none());
        writer.write_all(b"second").unwrap();
        let mut buffer = [0; 16];
        assert_eq!(read(&ours, &mut buffer), Ok(6));
    }
}
