//! What to do about each VM, from three facts and nothing else. The table is the documentation:
//!
//! | open operation | target | observed | decision |
//! |---|---|---|---|
//! | any or none, of a VM whose client has gone | any | anything | remove |
//! | create, forward | stopped | anything | unwind to absent |
//! | start or restart, forward | running | all of it, the guest is set up and its agent answers | settle as success, adopt |
//! | start or restart, forward | running | anything less | unwind to stopped, "interrupted" |
//! | any, unwinding | - | anything | go on unwinding |
//! | stop, kill, delete | stopped, absent | anything | go on downwards |
//! | none | running | VMM alive | adopt |
//! | none | running | VMM alive, but not the network that the VM is to have | set the network up again |
//! | none | running | VMM gone | note the end, remove what only a running VM owns |
//! | none | stopped | run-time resources exist, or something could not be removed before | remove them |
//! | none | stopped | nothing more than that | leave |
//! | none | absent | anything | remove |
//! | no row | - | an object of ours | orphan: remove (intent always comes before effect) |

use crate::host::Present;
use banger_model::vm::{Direction, OpenOperation, Target, Verb};

/// What is known of one VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fact {
    /// What is on record; none for an orphan.
    pub(crate) intent: Option<Intent>,
    /// What the host shows.
    pub(crate) present: Present,
    /// Whether its guest is set up and its agent answers. Only asked for where the table needs it.
    pub(crate) agent_answers: bool,
}

/// What is on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Intent {
    pub(crate) target: Target,
    pub(crate) open: Option<OpenOperation>,
    /// It was tied to a client that has gone.
    pub(crate) unheld: bool,
    /// It is to have a network.
    pub(crate) networked: bool,
    /// Something of it could not be removed when that was last tried.
    pub(crate) left: bool,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// All is as it should be.
    Leave,
    /// Watch over a VM that runs as it should.
    Adopt,
    /// Watch over a VM that runs, but give it its network again first.
    MendNetwork,
    /// The start had succeeded; only the word was missing.
    SettleRunning,
    /// Take down to the target, and close the operation there.
    TakeDown(Target),
    /// A boot ended unseen: note how, and take down to rest.
    NoteEnd,
}

/// The table.
pub(crate) fn decide(fact: &Fact) -> Decision {
    let Some(Intent { target, open, unheld, networked, left }) = fact.intent else {
        return Decision::TakeDown(Target::Absent);
    };
    if unheld {
        return Decision::TakeDown(Target::Absent);
    }
    match open {
        Some(OpenOperation { verb: Verb::Create, .. } | OpenOperation { verb: Verb::Delete, .. }) => {
            Decision::TakeDown(Target::Absent)
        }
        Some(OpenOperation { verb: Verb::Start | Verb::Restart, direction: Direction::Forward })
            if fact.present.vmm_alive && fact.present.observed().at_rest_complete && fact.agent_answers =>
        {
            Decision::SettleRunning
        }
        Some(OpenOperation { verb: Verb::Start | Verb::Restart | Verb::Stop | Verb::Kill, .. }) => {
            Decision::TakeDown(Target::Stopped)
        }
        None if target == Target::Absent => Decision::TakeDown(Target::Absent),
        None if target == Target::Running => match fact.present.vmm_alive {
            true if networked && !fact.present.net_alive => Decision::MendNetwork,
            true => Decision::Adopt,
            false => Decision::NoteEnd,
        },
        None if left || fact.present.observed().runtime_present => Decision::TakeDown(Target::Stopped),
        None => Decision::Leave,
    }
}

/// Whether the table needs to know if the agent answers.
pub(crate) fn needs_agent(intent: &Intent) -> bool {
    !intent.unheld
        && matches!(
            intent.open,
            Some(OpenOperation { verb: Verb::Start | Verb::Restart, direction: Direction::Forward })
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource;
    use proptest::prelude::*;

    fn present(target: Target, vmm_alive: bool) -> Present {
        Present { resources: resource::up_to(target).collect(), vmm_alive, net_alive: vmm_alive }
    }

    fn fact(target: Target, open: Option<(Verb, Direction)>, present: Present, agent_answers: bool) -> Fact {
        let open = open.map(|(verb, direction)| OpenOperation { verb, direction });
        Fact {
            intent: Some(Intent { target, open, unheld: false, networked: true, left: false }),
            present,
            agent_answers,
        }
    }

    #[test]
    fn every_row_of_the_table() {
        use Decision::{Adopt, Leave, MendNetwork, NoteEnd, SettleRunning, TakeDown};
        use Direction::{Forward, Unwinding};
        use Target::{Absent, Running, Stopped};
        let alive = || present(Running, true);
        let offline = || Present { net_alive: false, ..alive() };
        let rest = || present(Stopped, false);
        let none = Present::default;
        let table = [
            (fact(Stopped, Some((Verb::Create, Forward)), rest(), false), TakeDown(Absent)),
            (fact(Stopped, Some((Verb::Create, Unwinding)), none(), false), TakeDown(Absent)),
            (fact(Running, Some((Verb::Start, Forward)), alive(), true), SettleRunning),
            (fact(Running, Some((Verb::Start, Forward)), alive(), false), TakeDown(Stopped)),
            (fact(Running, Some((Verb::Start, Forward)), present(Running, false), true), TakeDown(Stopped)),
            (fact(Running, Some((Verb::Start, Unwinding)), alive(), true), TakeDown(Stopped)),
            (fact(Running, Some((Verb::Restart, Forward)), alive(), true), SettleRunning),
            (fact(Running, Some((Verb::Restart, Forward)), rest(), false), TakeDown(Stopped)),
            (fact(Stopped, Some((Verb::Stop, Forward)), alive(), true), TakeDown(Stopped)),
            (fact(Stopped, Some((Verb::Kill, Forward)), none(), false), TakeDown(Stopped)),
            (fact(Absent, Some((Verb::Delete, Forward)), alive(), true), TakeDown(Absent)),
            (fact(Running, None, alive(), false), Adopt),
            (fact(Running, None, offline(), false), MendNetwork),
            (fact(Running, None, present(Running, false), false), NoteEnd),
            (fact(Stopped, None, alive(), false), TakeDown(Stopped)),
            (fact(Stopped, None, rest(), false), Leave),
            (fact(Stopped, None, none(), false), Leave),
            (fact(Absent, None, rest(), false), TakeDown(Absent)),
        ];
        for (fact, decision) in table {
            assert_eq!(decide(&fact), decision, "{fact:?}");
        }
        let wants_none = Intent { target: Running, open: None, unheld: false, networked: false, left: false };
        assert_eq!(decide(&Fact { intent: Some(wants_none), present: offline(), agent_answers: false }), Adopt);
        let lied = Intent { target: Stopped, open: None, unheld: false, networked: true, left: true };
        assert_eq!(decide(&Fact { intent: Some(lied), present: rest(), agent_answers: false }), TakeDown(Stopped));
        let orphan = Fact { intent: None, present: alive(), agent_answers: true };
        assert_eq!(decide(&orphan), TakeDown(Absent));
        let starting = OpenOperation { verb: Verb::Start, direction: Forward };
        for open in [None, Some(starting)] {
            let intent = Intent { target: Running, open, unheld: true, networked: true, left: false };
            assert_eq!(decide(&Fact { intent: Some(intent), present: alive(), agent_answers: true }), TakeDown(Absent));
        }
    }

    proptest! {
        /// Nothing but a running VM's network is ever built by reconcile, so it cannot make things up.
        #[test]
        fn a_vm_at_rest_is_never_touched(agent_answers: bool) {
            let fact = fact(Target::Stopped, None, present(Target::Stopped, false), agent_answers);
            prop_assert_eq!(decide(&fact), Decision::Leave);
        }
    }
}
