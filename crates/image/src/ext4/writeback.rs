//! Getting contents onto the disk while more of them come.
//!
//! An image is synced before it gets its name. Left to itself the kernel would begin to write only then, and everybody would
//! wait for all of it; so a thread syncs what there is, again and again, and leaves little for the end.

use crate::effect;
use std::fs::File;
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Bytes after which the thread is woken: 32 MiB.
const STEP: u64 = 32 << 20;

/// The thread. It ends when this is dropped, or finished.
#[derive(Debug)]
pub(super) struct Writeback {
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<io::Result<()>>>,
    since: u64,
}

impl Writeback {
    /// Begins to sync `file`; without effect on a host that gives no thread.
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let file = file.try_clone()?;
        let (wake, woken) = sync_channel(1);
        let sync = move || woken.iter().try_for_each(|()| effect::sync_data(&file));
        let thread = std::thread::Builder::new().name("writeback".to_owned()).spawn(sync).ok();
        Ok(Self { wake: Some(wake), thread, since: 0 })
    }

    /// So many more bytes were written. A thread that is busy is not waited for.
    pub(super) fn wrote(&mut self, count: u64) {
        self.since += count;
        if self.since >= STEP {
            self.since = 0;
            if let Some(wake) = &self.wake {
                let _busy_or_failed = wake.try_send(());
            }
        }
    }

    /// Waits for the thread, whose failure nobody else would learn of: the kernel tells it once.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.wake = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(synced)) => synced,
            Some(Err(_)) => Err(io::ErrorKind::Other.into()),
            None => Ok(()),
        }
    }
}

impl Drop for Writeback {
    fn drop(&mut self) {
        // What is dropped before it was finished is thrown away.
        let _ = self.finish();
    }
}
