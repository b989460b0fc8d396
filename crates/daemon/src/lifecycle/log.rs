//! The daemon's own log: JSON, one record a line, each with the operation that it belongs to.
//!
//! It is bounded: a full file becomes `bangerd.log.1`, in place of the one before.

use banger_model::paths::Paths;
use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{filter::Targets, fmt::MakeWriter, layer::SubscriberExt, util::SubscriberInitExt};

/// At this size, in bytes, a new file is begun.
const MOST: u64 = 8 << 20;
/// Names the least level that is logged.
const VARIABLE: &str = "BANGER_LOG";

/// Begins to log. What panics is logged as well: nobody reads a daemon's standard error.
pub(crate) fn begin(paths: &Paths) -> io::Result<()> {
    let level = std::env::var(VARIABLE).ok().and_then(|word| word.parse().ok()).unwrap_or(LevelFilter::INFO);
    let records = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_writer(Rotating::open(paths.log(), paths.older_log(), MOST)?);
    // Libraries only when something is wrong.
    let wanted =
        Targets::new().with_target("bangerd", level).with_target("banger", level).with_default(LevelFilter::WARN);
    // An error says that somebody else has begun to log in this process: only in tests.
    let _ = tracing_subscriber::registry().with(records).with(wanted).try_init();
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let payload = panic.payload();
        let words = payload.downcast_ref::<&str>().copied();
        let text = words.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or_default();
        tracing::error!(place, text, "a defect: panicked");
    }));
    Ok(())
}

/// A file that is renamed away when it is full.
struct Rotating {
    path: PathBuf,
    older: PathBuf,
    most: u64,
    open: Mutex<Open>,
}

struct Open {
    file: File,
    size: u64,
}

impl Rotating {
    fn open(path: PathBuf, older: PathBuf, most: u64) -> io::Result<Self> {
        let open = Mutex::new(Open::at(&path)?);
        Ok(Self { path, older, most, open })
    }

    fn write(&self, record: &[u8]) -> io::Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let length = u64::try_from(record.len()).unwrap_or(u64::MAX);
        if open.size.saturating_add(length) > self.most && open.size > 0 {
            std::fs::rename(&self.path, &self.older)?;
            *open = Open::at(&self.path)?;
        }
        open.size = open.size.saturating_add(length);
        open.file.write_all(record)
    }
}

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { file, size })
    }
}

/// Writes whole records: the formatter hands each over at once.
struct Records<'a>(&'a Rotating);

impl Write for Records<'_> {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        self.0.write(record)?;
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Rotating {
    type Writer = Records<'a>;

    fn make_writer(&'a self) -> Records<'a> {
        Records(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_makes_room_and_no_record_is_torn() {
        let folder = tempfile::tempdir().unwrap();
        let (path, older) = (folder.path().join("log"), folder.path().join("log.1"));
        let log = Rotating::open(path.clone(), older.clone(), 100).unwrap();
        for n in 0..30 {
            log.write(format!("record number {n:03}\n").as_bytes()).unwrap();
        }
        let (new, old) = (std::fs::read_to_string(&path).unwrap(), std::fs::read_to_string(older).unwrap());
        assert!(new.len() <= 100 && old.len() <= 100);
        assert!(new.ends_with("record number 029\n"));
        assert!(old.lines().chain(new.lines()).all(|line| line.len() == 17), "{old}{new}");
    }
}
