//! The daemon is killed with SIGKILL again and again, at random moments of everything that it is asked to do, with real VMs.
//! After each kill the next one finds what was asked for and nothing else, a look more changes nothing, and the VMs that
//! nobody touched answer as if nothing had happened.
//!
//! `BANGER_SEED=N` plans the same kills again, of which `BANGER_KILLS=A..B` takes a part; what really happens within a moment is up
//! to the host. `BANGER_SOAK=1` kills many more times.

mod cast;
mod look;
mod plan;
mod strike;
mod tally;
mod verb;

use banger_e2e::{Sandbox, surroundings};
use cast::Cast;
use plan::Plan;
use std::{io::Write, ops::Range, time::SystemTime};
use tally::Tally;

/// How often each test kills, not counting daemons that are killed while they recover.
const KILLS: u64 = 55;
const KILLS_IN_SOAK: u64 = 1000;
/// The lab's processor is an emulated one.
const KILLS_IN_LAB: u64 = 6;

/// The number that all chance comes from: a new one each time, or that of `BANGER_SEED`.
fn seed() -> u64 {
    let given = std::env::var("BANGER_SEED").ok().map(|seed| seed.parse().expect("BANGER_SEED is a number"));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    given.unwrap_or_else(|| u64::from(now.subsec_nanos()))
}

/// Which kills of the seed.
fn kills() -> Range<u64> {
    let all = match std::env::var_os("BANGER_SOAK") {
        Some(_) => KILLS_IN_SOAK,
        None if surroundings::store().is_some() => KILLS_IN_LAB,
        None => KILLS,
    };
    let Ok(given) = std::env::var("BANGER_KILLS") else { return 0..all };
    let (from, to) = given.split_once("..").expect("BANGER_KILLS is A..B");
    from.parse().expect("a number")..to.parse().expect("a number")
}

/// Past the runner's capture: how much was tried is what one wants to know of a test that passes, too.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "\n{}", text.trim_end());
}

/// Where a series is; told when it goes no further.
struct Place(String);

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tell(&format!("failed in {}", self.0));
        }
    }
}

/// Kills a daemon that has some VMs running on which nobody acts.
fn kill_again_and_again(what: &str, offset: u64) {
    let seed = seed();
    let survivors = if surroundings::store().is_some() { 1 } else { 2 };
    let sandbox = Sandbox::new();
    let mut cast = Cast::assemble(&sandbox, survivors);
    let mut tally = Tally::new();
    for number in kills() {
        let plan = Plan::of(seed.wrapping_add(offset), number);
        let _place = Place(format!("{what}: BANGER_SEED={seed} BANGER_KILLS={number}..{}: {plan:?}", number + 1));
        let faults = strike::strike(&sandbox, &mut cast, &plan, &mut tally);
        assert!(faults.is_empty(), "what is not as it should be:\n{}", faults.join("\n"));
    }
    tell(&format!("{what} (seed {seed}): {tally}"));
}

#[test]
fn whatever_a_daemon_was_doing_the_next_one_has_what_was_asked_for() {
    kill_again_and_again("kills, first series", 0);
}

#[test]
fn and_again_in_another_order() {
    kill_again_and_again("kills, second series", 1 << 32);
}
