//! Which scenario may run now. Knows nothing of threads: whoever asks waits until another one has ended.

/// What a scenario shares with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// What that says, with all that say the same: of these one runs at a time, in the order of the table.
    Sharing(&'static str),
    /// Nothing but the host: it runs beside any other.
    Independent,
    /// The whole host is its: it runs alone, when all others are over.
    Global,
}

impl std::fmt::Display for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sharing(what) => write!(f, "shares {what}"),
            Self::Independent => f.write_str("independent"),
            Self::Global => f.write_str("global"),
        }
    }
}

/// What has not run, and what runs.
#[derive(Debug)]
pub struct Queue<T> {
    waiting: Vec<(Class, T)>,
    running: Vec<Class>,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// Run this one, then say that it has [`Queue::ended`].
    Run(Class, T),
    /// Ask again when another one has ended.
    Wait,
    /// Nothing is left to run.
    Over,
}

impl<T> Queue<T> {
    /// All of them. Those that have to wait for each other begin first, for they end last.
    pub fn new(all: impl IntoIterator<Item = (Class, T)>) -> Self {
        let mut waiting: Vec<_> = all.into_iter().collect();
        waiting.sort_by_key(|(class, _)| *class);
        Self { waiting, running: Vec::new() }
    }

    /// The next one for somebody who has nothing to do.
    pub fn take(&mut self) -> Next<T> {
        match self.waiting.iter().position(|(class, _)| self.may_run(*class)) {
            Some(at) => {
                let (class, item) = self.waiting.remove(at);
                self.running.push(class);
                Next::Run(class, item)
            }
            None if self.waiting.is_empty() => Next::Over,
            None => Next::Wait,
        }
    }

    /// One of that class has ended.
    pub fn ended(&mut self, class: Class) {
        if let Some(at) = self.running.iter().position(|running| *running == class) {
            self.running.swap_remove(at);
        }
    }

    fn may_run(&self, class: Class) -> bool {
        match class {
            Class::Independent => !self.running.contains(&Class::Global),
            Class::Sharing(_) => !self.running.contains(&Class::Global) && !self.running.contains(&class),
            Class::Global => self.running.is_empty() && self.waiting.iter().all(|(other, _)| *other == Class::Global),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAIN: Class = Class::Sharing("x");

    fn taken(queue: &mut Queue<u8>) -> Vec<u8> {
        let next = || match queue.take() {
            Next::Run(_, item) => Some(item),
            Next::Wait | Next::Over => None,
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn what_is_shared_is_used_by_one_at_a_time_in_order() {
        let mut queue = Queue::new([(CHAIN, 1), (CHAIN, 2), (Class::Sharing("y"), 3)]);
        assert_eq!((taken(&mut queue), queue.take()), (vec![1, 3], Next::Wait));
        queue.ended(CHAIN);
        assert_eq!((taken(&mut queue), queue.take()), (vec![2], Next::Over));
    }

    #[test]
    fn independent_ones_run_beside_all_but_what_is_global() {
        let mut queue =
            Queue::new([(Class::Global, 1), (Class::Independent, 2), (CHAIN, 3), (Class::Global, 4), (CHAIN, 5)]);
        assert_eq!(taken(&mut queue), [3, 2], "chains begin first");
        queue.ended(Class::Independent);
        assert_eq!(queue.take(), Next::Wait, "the chain is not over");
        queue.ended(CHAIN);
        assert_eq!((taken(&mut queue), queue.take()), (vec![5], Next::Wait));
        queue.ended(CHAIN);
        assert_eq!((taken(&mut queue), queue.take()), (vec![1], Next::Wait), "one alone");
        queue.ended(Class::Global);
        assert_eq!((taken(&mut queue), queue.take()), (vec![4], Next::Over));
    }

    /// All classes, any number of workers, ends in any order: everything runs once, and never beside what it must not meet.
    #[test]
    fn no_order_of_ends_lets_two_meet_that_must_not() {
        let classes = [CHAIN, Class::Independent, Class::Global, Class::Sharing("y")];
        for seed in 0..2000_u64 {
            let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
            let mut below = |bound: usize| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                usize::try_from(random % 1_000_003).unwrap() % bound
            };
            let all: Vec<_> = (0..12).map(|item| (classes[below(4)], item)).collect();
            let mut queue = Queue::new(all.clone());
            let (mut running, mut done): (Vec<(Class, usize)>, Vec<usize>) = (Vec::new(), Vec::new());
            let workers = 1 + below(5);
            loop {
                if running.len() < workers && (running.is_empty() || below(2) == 0) {
                    match queue.take() {
                        Next::Run(class, item) => {
                            let alone = |class| class == Class::Global;
                            let shared = matches!(class, Class::Sharing(_));
                            let meets = |(other, _): &(Class, usize)| {
                                alone(class) || alone(*other) || (shared && *other == class)
                            };
                            assert!(!running.iter().any(meets), "seed {seed}: {class} beside {running:?}");
                            running.push((class, item));
                            continue;
                        }
                        Next::Over if running.is_empty() => break,
                        Next::Wait => assert!(!running.is_empty(), "seed {seed}: nobody could ever go on"),
                        Next::Over => {}
                    }
                }
                if !running.is_empty() {
                    let (class, item) = running.swap_remove(below(running.len()));
                    queue.ended(class);
                    done.push(item);
                }
            }
            done.sort_unstable();
            assert_eq!(done, (0..12).collect::<Vec<_>>(), "seed {seed}");
        }
    }
}
