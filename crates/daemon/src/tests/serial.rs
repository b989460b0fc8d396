//! Whether what many were told, who acted on one VM at the same time, is what some order of one after the other would have
//! told them.
//!
//! A history is what happened to one name: when each began, when it was answered, and how. Checked is, going through the
//! history, in which states the VM can be, and which of those that are under way can have had their effect by then. What
//! happens to different names is independent, so each is checked alone.

use crate::verbs::VerbError;
use banger_model::vm::{Denied, Status, Target, Verb};
use std::collections::{BTreeSet, HashMap};

/// How a verb was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    NotFound,
    NameTaken,
    Busy,
    Unfit(Status),
    Cancelled,
    /// Nothing that it may be answered.
    Wrong,
}

impl Outcome {
    pub(super) fn of<T>(answer: &Result<T, VerbError>) -> Self {
        use crate::host::{BootError, HostError};
        use crate::prepare::PrepareError;
        match answer {
            Ok(_) => Self::Done,
            Err(VerbError::NotFound(_)) => Self::NotFound,
            Err(VerbError::NameTaken(_)) => Self::NameTaken,
            Err(VerbError::Denied { denied: Denied::Busy(_), .. }) => Self::Busy,
            Err(VerbError::Denied { denied: Denied::Unfit(status), .. }) => Self::Unfit(*status),
            Err(
                VerbError::Cancelled(_)
                | VerbError::Prepare(PrepareError::Cancelled(_))
                | VerbError::Boot { source: BootError::Cancelled(_), .. }
                | VerbError::Host { source: HostError::Cancelled(_), .. },
            ) => Self::Cancelled,
            Err(_) => Self::Wrong,
        }
    }
}

/// Something that happened, in the order in which it happened. The number tells one call from another.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    Began(usize, Call),
    Answered(usize, Outcome),
}

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// A verb; a delete with force.
    Verb(Verb),
    /// A delete of a VM that must not run.
    DeleteAtRest,
    /// The VMM ended by itself, if there was one.
    End,
}

/// Where a VM is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Absent,
    Stopped,
    Running,
    /// Its VMM has ended, and reconcile has not seen it yet.
    Broken,
}

impl From<Target> for State {
    fn from(target: Target) -> Self {
        match target {
            Target::Absent => Self::Absent,
            Target::Stopped => Self::Stopped,
            Target::Running => Self::Running,
        }
    }
}

/// What the VM is afterwards if it was `before` when the call had its effect; nothing if it cannot have been.
fn effect(call: Call, outcome: Outcome, before: State) -> Option<State> {
    use State::{Absent, Broken, Running, Stopped};
    use Verb::{Create, Delete, Kill, Restart, Start, Stop};
    let after = match (call, outcome, before) {
        (Call::End, _, Running) => Broken,
        (Call::End, ..) => before,
        (Call::Verb(Create), Outcome::Done, Absent) => Stopped,
        (Call::Verb(Start | Restart), Outcome::Done, Stopped | Running) => Running,
        (Call::Verb(Stop | Kill), Outcome::Done, Stopped | Running | Broken) => Stopped,
        (Call::Verb(Delete), Outcome::Done, Stopped | Running | Broken) => Absent,
        (Call::DeleteAtRest, Outcome::Done, Stopped | Broken) => Absent,
        (Call::DeleteAtRest, Outcome::Unfit(Status::Running), Running) => before,
        (Call::Verb(Start | Restart), Outcome::Unfit(Status::Degraded), Broken) => before,
        (Call::Verb(Create), Outcome::NameTaken, Stopped | Running | Broken) => before,
        (Call::Verb(Start | Restart | Stop | Kill | Delete) | Call::DeleteAtRest, Outcome::NotFound, Absent) => before,
        // Another one of those under way is in its way.
        (Call::Verb(Start | Restart | Stop | Kill | Delete) | Call::DeleteAtRest, Outcome::Busy, _) => before,
        (Call::Verb(Create), Outcome::Cancelled, _) => before,
        (Call::Verb(Start), Outcome::Cancelled, Stopped) => before,
        // The boot that was had ended by then.
        (Call::Verb(Restart), Outcome::Cancelled, Stopped | Running) => Stopped,
        _ => return None,
    };
    Some(after)
}

/// Where the VM can be, and which of the calls under way have had their effect.
type Point = (State, BTreeSet<usize>);

/// What cannot have been.
#[derive(Debug)]
pub(super) struct NoOrder {
    #[expect(dead_code, reason = "for whoever reads of a failure")]
    pub(super) upto: Vec<Event>,
}

/// The states that the VM can be in after all that; an error at the first answer that no order allows.
pub(super) fn check(history: &[Event]) -> Result<BTreeSet<State>, NoOrder> {
    let answers = history.iter().filter_map(|event| match event {
        Event::Answered(id, outcome) => Some((*id, *outcome)),
        Event::Began(..) => None,
    });
    let outcomes: HashMap<usize, Outcome> = answers.collect();
    let mut points: BTreeSet<Point> = [(State::Absent, BTreeSet::new())].into();
    let mut open: Vec<(usize, Call)> = Vec::new();
    let mut alone: BTreeSet<usize> = BTreeSet::new();
    for (at, event) in history.iter().enumerate() {
        let failed = || NoOrder { upto: history[at.saturating_sub(40)..=at].to_vec() };
        match *event {
            Event::Began(id, call) => {
                open.push((id, call));
                match open.len() {
                    1 => drop(alone.insert(id)),
                    _ => alone.clear(),
                }
            }
            Event::Answered(id, outcome) => {
                // Nobody is busy with a VM on which nobody else has acted.
                if outcome == Outcome::Busy && alone.contains(&id) {
                    return Err(failed());
                }
                points = closure(points, &open, &outcomes);
                points.retain(|(_, done)| done.contains(&id));
                points = points.into_iter().map(|(state, done)| (state, without(done, id))).collect();
                open.retain(|(other, _)| *other != id);
                if points.is_empty() {
                    return Err(failed());
                }
            }
        }
    }
    // Whatever reconcile had not seen by then it has seen since.
    let settled = |state| if state == State::Broken { State::Stopped } else { state };
    Ok(points.into_iter().map(|(state, _)| settled(state)).collect())
}

fn without(mut done: BTreeSet<usize>, id: usize) -> BTreeSet<usize> {
    done.remove(&id);
    done
}

/// All points that can be reached by calls under way having their effect, in any order.
fn closure(from: BTreeSet<Point>, open: &[(usize, Call)], outcomes: &HashMap<usize, Outcome>) -> BTreeSet<Point> {
    let (mut reached, mut new) = (from.clone(), from);
    while !new.is_empty() {
        let mut next = BTreeSet::new();
        for (state, done) in &new {
            if *state == State::Broken {
                next.extend(Some((State::Stopped, done.clone())).filter(|point| !reached.contains(point)));
            }
            for (id, call) in open.iter().filter(|(id, _)| !done.contains(id)) {
                let Some(outcome) = outcomes.get(id).copied() else { continue };
                // A create that is cancelled had its name for a while.
                let had_name = |(_, call): &(usize, Call)| *call == Call::Verb(Verb::Create);
                let cancelled = |(id, _): &(usize, Call)| outcomes.get(id) == Some(&Outcome::Cancelled);
                let taken = outcome == Outcome::NameTaken && open.iter().any(|open| had_name(open) && cancelled(open));
                let after = effect(*call, outcome, *state).or(taken.then_some(*state));
                let Some(after) = after else { continue };
                let mut done = done.clone();
                done.insert(*id);
                next.extend(Some((after, done)).filter(|point| !reached.contains(point)));
            }
        }
        reached.extend(next.iter().cloned());
        new = next;
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;
    use Event::{Answered, Began};
    use Outcome::{Busy, Done, NameTaken, NotFound};

    fn call(verb: Verb) -> Call {
        Call::Verb(verb)
    }

    #[test]
    fn what_an_order_allows_is_allowed() {
        let both =
            [Began(0, call(Verb::Create)), Began(1, call(Verb::Create)), Answered(1, NameTaken), Answered(0, Done)];
        assert_eq!(check(&both).unwrap(), [State::Stopped].into());
        let late = [Began(0, call(Verb::Create)), Began(1, call(Verb::Stop)), Answered(1, NotFound), Answered(0, Done)];
        assert_eq!(check(&late).unwrap(), [State::Stopped].into());
    }

    #[test]
    fn what_no_order_allows_is_found() {
        let twice = [Began(0, call(Verb::Create)), Began(1, call(Verb::Create)), Answered(1, Done), Answered(0, Done)];
        check(&twice).unwrap_err();
        let lost =
            [Began(0, call(Verb::Create)), Answered(0, Done), Began(1, call(Verb::Start)), Answered(1, NotFound)];
        check(&lost).unwrap_err();
        let busy = [Began(0, call(Verb::Create)), Answered(0, Done), Began(1, call(Verb::Start)), Answered(1, Busy)];
        check(&busy).unwrap_err();
    }
}
