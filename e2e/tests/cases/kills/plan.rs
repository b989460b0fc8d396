//! What one kill interrupts, and when: pure, from a seed and a number, so that a seed kills in the same way again.
//!
//! Short verbs are over before a moment of pure chance comes, so a moment is drawn in two ways: as a share of the time that
//! the verb usually takes, and as a moment after something was seen to change on the host.

use super::verb::{Kind, Verb};
use std::time::Duration;

/// How many VMs may be acted on at once.
pub(super) const VMS: usize = 3;
/// How many images.
pub(super) const IMAGES: usize = 2;

/// Numbers that look like chance: splitmix64.
#[derive(Debug, Clone)]
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }

    /// From 0 to less than 1.
    fn unit(&mut self) -> f64 {
        f64::from(u32::try_from(self.next() >> 32).unwrap()) / 4_294_967_296.0
    }

    /// Between two numbers, as likely to be of any order of magnitude.
    fn magnitude(&mut self, least: f64, most: f64) -> f64 {
        least * (most / least).powf(self.unit())
    }

    fn verb(&mut self) -> Verb {
        let sum = Verb::WEIGHTED.iter().map(|(_, weight)| weight).sum();
        let mut left = self.below(sum);
        let drawn = Verb::WEIGHTED.iter().find(|(_, weight)| {
            let found = left < *weight;
            left = left.saturating_sub(*weight);
            found
        });
        drawn.unwrap().0
    }

    /// How much of a verb's usual time is over; somewhat more than all of it at most.
    fn share(&mut self) -> f64 {
        if self.below(4) == 0 { self.magnitude(0.01, 1.0) } else { 1.1 * self.unit() }
    }
}

/// A part of the host where something can be seen to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The files of VMs, records of processes among them.
    Files,
    Sockets,
    Staging,
    /// Images and their names.
    Images,
    /// The processes that wait, between fork and exec, until they are on record.
    Gate,
}

/// When the daemon dies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Moment {
    /// When of each act the share of its usual time is over that the act says.
    Shares,
    /// That long after so many changes were seen there.
    Sight { place: Place, changes: u64, then: Duration },
}

/// One kill.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    /// What is under way, on different VMs and images, and how far it is when the daemon dies.
    pub(super) acts: Vec<(Verb, f64)>,
    pub(super) moment: Moment,
    /// The next daemons die too, when that share of their usual way up is behind them.
    pub(super) again: Vec<f64>,
}

impl Plan {
    pub(super) fn of(seed: u64, number: u64) -> Self {
        let mut chance = Chance(seed ^ Chance(number).next());
        let count = [1, 1, 1, 1, 1, 2, 2, 3, 3][usize::try_from(chance.below(9)).unwrap()];
        let mut acts: Vec<(Verb, f64)> = Vec::new();
        while acts.len() < count {
            let verb = chance.verb();
            let alike = acts.iter().filter(|(other, _)| other.kind() == verb.kind()).count();
            // Each has a name of its own, so there is one of it at most.
            let named = |other: Verb| matches!(verb, Verb::Pull | Verb::Import) && other == verb;
            let room = alike < if verb.kind() == Kind::Vm { VMS } else { IMAGES };
            if room && !acts.iter().any(|(other, _)| named(*other)) {
                acts.push((verb, chance.share()));
            }
        }
        let moment = match chance.below(2) {
            0 => Moment::Shares,
            _ => {
                let place = chance.place(acts[0].0);
                // Nobody waits at the gate for longer than a small file takes.
                let most = if place == Place::Gate { 0.003 } else { 0.08 };
                let then = Duration::from_secs_f64(chance.magnitude(0.000_01, most));
                Moment::Sight { place, changes: 1 + chance.below(3), then }
            }
        };
        let again = match chance.below(6) {
            0 => vec![chance.share()],
            1 => vec![chance.share(), chance.share()],
            _ => Vec::new(),
        };
        Self { acts, moment, again }
    }
}

impl Chance {
    /// Where a verb changes something.
    fn place(&mut self, verb: Verb) -> Place {
        let places: &[Place] = match verb {
            Verb::Create | Verb::Delete => &[Place::Files],
            Verb::Start | Verb::Run | Verb::RunOnce => &[Place::Gate, Place::Gate, Place::Sockets, Place::Files],
            Verb::Restart => &[Place::Gate, Place::Sockets, Place::Files],
            Verb::Stop | Verb::Kill | Verb::DeleteRunning => &[Place::Sockets, Place::Files],
            Verb::Pull | Verb::Import => &[Place::Staging, Place::Images],
            Verb::DeleteImage => &[Place::Images],
        };
        places[usize::try_from(self.below(u64::try_from(places.len()).unwrap())).unwrap()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_plans_the_same_again_and_another_one_something_else() {
        let plans = |seed| (0..50).map(|number| Plan::of(seed, number)).collect::<Vec<_>>();
        assert_eq!(plans(7), plans(7));
        assert_ne!(plans(7), plans(8));
    }

    #[test]
    fn every_verb_and_every_kind_of_moment_has_its_turn() {
        let plans: Vec<_> = (0..400).map(|number| Plan::of(1, number)).collect();
        for (verb, _) in Verb::WEIGHTED {
            assert!(plans.iter().any(|plan| plan.acts[0].0 == verb), "{verb:?}");
        }
        assert!(plans.iter().any(|plan| plan.acts.len() == 3) && plans.iter().any(|plan| plan.again.len() == 2));
        for place in [Place::Files, Place::Sockets, Place::Staging, Place::Images, Place::Gate] {
            let there = |plan: &Plan| matches!(plan.moment, Moment::Sight { place: found, .. } if found == place);
            assert!(plans.iter().any(there), "{place:?}");
        }
        assert!(plans.iter().flat_map(|plan| &plan.acts).all(|(_, share)| (0.0..1.1).contains(share)));
    }
}
