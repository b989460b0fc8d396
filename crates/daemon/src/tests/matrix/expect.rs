//! What each verb promises: where a VM is in the end, by where it went wrong.

use super::{
    acts::{Act, Part, goal},
    cell::{Cell, Way},
};
use crate::host::fake::{Effect, When};
use banger_model::vm::{Target, Verb};

/// A place in one verb of an act.
struct Place<'a> {
    part: Part,
    steps: &'a [Effect],
    at: usize,
    when: When,
    way: Way,
}

/// Where "box" is in the end. `told` says how the verb ended; none when its daemon was killed.
pub(super) fn target(cell: &Cell, told: Option<bool>) -> Target {
    let parts = cell.act.parts();
    let rm = cell.act == Act::Run { rm: true };
    let (mut begin, mut part) = (0, 0);
    // Each verb ends with its operation.
    while let Some(settled) = cell.trace[begin..].iter().position(|step| *step == Effect::Write("settle"))
        && begin + settled < cell.at
    {
        (begin, part) = (begin + settled + 1, part + 1);
    }
    let length = cell.trace[begin..].iter().position(|step| *step == Effect::Write("settle")).unwrap() + 1;
    let place = Place {
        part: parts[part],
        steps: &cell.trace[begin..begin + length],
        at: cell.at - begin,
        when: cell.when,
        way: cell.way,
    };
    let reached = match told {
        Some(true) => goal(parts[parts.len() - 1].0),
        // Its client has gone, with the daemon or by its own will; only one that did not come up is kept, to be looked at.
        _ if rm && (told.is_none() || place.way == Way::Cancel || part != 1) => Target::Absent,
        _ => place.reached(),
    };
    match cell.way {
        Way::KillAndReboot => reached.min(Target::Stopped),
        _ => reached,
    }
}

impl Place<'_> {
    /// Where the verb leaves the VM, having failed or been cut off here.
    fn reached(&self) -> Target {
        let (verb, from) = self.part;
        let before = |step: usize| self.at < step || (self.at == step && self.when == When::Before);
        let last = self.steps.len() - 1;
        // Nothing was on record.
        if before(0) && self.way != Way::Cancel {
            return from;
        }
        match verb {
            // They only go forward.
            Verb::Stop | Verb::Kill | Verb::Delete => goal(verb),
            // To be cancelled while it is written down comes too late.
            Verb::Create if self.at < last || (before(last) && self.way != Way::Cancel) => Target::Absent,
            Verb::Create => Target::Stopped,
            Verb::Start | Verb::Restart => {
                let noted = self.steps.iter().position(|step| *step == Effect::Write("note boot")).unwrap();
                // The boot that was before goes on until its guest is asked to end.
                let untouched = from == Target::Running && (self.at == 0 || (self.at == 1 && before(1)));
                let came_up = match self.way {
                    Way::Kill | Way::KillAndReboot => !before(noted) || untouched,
                    // All that was left to do was to say so.
                    Way::Error | Way::ErrorTwice => self.at == last || (untouched && self.at == 0),
                    Way::Cancel => false,
                };
                if came_up { Target::Running } else { Target::Stopped }
            }
        }
    }
}

/// Where "box" is when something else goes wrong after what did.
pub(super) fn back(cell: &Cell, told: bool) -> Target {
    let started = cell.trace[..cell.at].contains(&Effect::Write("settle"));
    let Some(((effect, _), when, _)) = cell.back else { return target(cell, Some(false)) };
    match (cell.act, cell.act.parts()[0].0) {
        // Kept to be looked at, unless nobody came to say so.
        (Act::Run { rm: true }, _) if started => {
            let kept = match effect {
                Effect::Write("keep") => when == When::After,
                _ => told,
            };
            if kept { Target::Stopped } else { Target::Absent }
        }
        (Act::Run { .. }, _) if started => Target::Stopped,
        (Act::Run { .. }, _) | (_, Verb::Create) => Target::Absent,
        _ => Target::Stopped,
    }
}
