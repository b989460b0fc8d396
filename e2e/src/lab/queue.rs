//! Which lab runs which case: each takes its next one when it has done the last.

use super::{
    inside::SHARED,
    link::Case,
    table::{Fit, fit},
};
use std::{collections::VecDeque, sync::Mutex};

/// The cases that nobody has taken yet.
#[derive(Debug)]
pub struct Queue(Mutex<Cases>);

#[derive(Debug, Default)]
struct Cases {
    /// They need the machine that is shared, which the first lab has.
    shared: VecDeque<Case>,
    alone: VecDeque<Case>,
}

impl Queue {
    /// All of them, that which boots the shared machine before those that use it.
    pub fn new(cases: Vec<Case>) -> Self {
        let is_shared = |case: &Case| matches!(fit(&case.name), Ok(Fit::Shared));
        let (mut shared, alone): (Vec<Case>, Vec<Case>) = cases.into_iter().partition(is_shared);
        shared.sort_by_key(|case| case.name != SHARED);
        Self(Mutex::new(Cases { shared: shared.into(), alone: alone.into() }))
    }

    /// The next case for this lab, the first being number zero.
    pub fn take(&self, lab: usize) -> Option<Case> {
        let mut cases = self.0.lock().ok()?;
        let shared = if lab == 0 { cases.shared.pop_front() } else { None };
        shared.or_else(|| cases.alone.pop_front())
    }

    /// What a lab had taken when it failed: next time it comes first.
    pub fn put_back(&self, case: Case) {
        let Ok(mut cases) = self.0.lock() else { return };
        if matches!(fit(&case.name), Ok(Fit::Shared)) {
            cases.shared.push_front(case);
        } else {
            cases.alone.push_front(case);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::link::Program;

    fn case(name: &str) -> Case {
        Case { program: Program::Cases, name: name.to_owned(), seconds: 1 }
    }

    fn names(queue: &Queue, lab: usize) -> Vec<String> {
        std::iter::from_fn(|| queue.take(lab)).map(|case| case.name).collect()
    }

    #[test]
    fn the_shared_machine_is_the_first_labs_and_comes_first() {
        let cases = ["run::one", "exec::two", SHARED, "run::three"].map(case);
        assert_eq!(names(&Queue::new(cases.clone().into()), 0), [SHARED, "exec::two", "run::one", "run::three"]);
        let queue = Queue::new(cases.into());
        assert_eq!(names(&queue, 1), ["run::one", "run::three"]);
        assert_eq!(names(&queue, 0), [SHARED, "exec::two"]);
    }

    #[test]
    fn what_is_put_back_comes_next() {
        let queue = Queue::new(["run::one", "run::two"].map(case).into());
        let taken = queue.take(1).unwrap();
        queue.put_back(taken);
        assert_eq!(names(&queue, 0), ["run::one", "run::two"]);
    }
}
