//! Giving up on work that nobody waits for any more.
//!
//! Every loop of this crate that can take longer than a moment asks its token. A token never un-cancels.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// A token that says whether the work is still wanted. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    cancelled: AtomicBool,
    parent: Option<Cancel>,
}

/// The work was given up because its token said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cancelled")]
pub struct Cancelled;

impl Cancel {
    /// A token of work that is wanted.
    pub fn new() -> Self {
        Self::default()
    }

    /// A token that is cancelled with this one, or alone: for helpers that stop together when one of them fails.
    pub fn child(&self) -> Self {
        Self(Arc::new(Inner { cancelled: AtomicBool::new(false), parent: Some(self.clone()) }))
    }

    /// Says that the work is not wanted any more.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Release);
    }

    /// Whether the work is not wanted any more.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Acquire) || self.0.parent.as_ref().is_some_and(Self::is_cancelled)
    }

    /// For `?` in loops.
    ///
    /// # Errors
    /// [`Cancelled`] once the token is cancelled.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_follow_their_parent_and_not_the_other_way_round() {
        let parent = Cancel::new();
        let child = parent.child();
        child.cancel();
        assert!(child.is_cancelled() && !parent.is_cancelled());
        let other = parent.child();
        parent.clone().cancel();
        assert_eq!(other.check(), Err(Cancelled));
    }
}
