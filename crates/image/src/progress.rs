//! Telling whoever waits how far the work is.
//!
//! Callers turn these calls into a progress bar, plain lines or events; nothing here decides how it looks.

/// Receives the progress of one operation. Called from several threads.
pub trait Progress: Send + Sync {
    /// A named part of the work begins; the one before it is over. `name` is a short phrase, like `fetch layers`.
    fn stage(&self, name: &str);
    /// The stage has handled `done` bytes, of `total` where that is known. Calls are at least 100 KiB apart.
    fn bytes(&self, done: u64, total: Option<u64>);
    /// Something worth a line of its own: a warning, a retry.
    fn line(&self, message: &str);
}

/// For callers that do not care.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn stage(&self, _: &str) {}
    fn bytes(&self, _: u64, _: Option<u64>) {}
    fn line(&self, _: &str) {}
}
